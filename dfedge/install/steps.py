"""What an install does, step by step, or would do."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dfedge.install.version import Version


@dataclass(slots=True)
class Done:
    """What was done, or would be: one line each, and what the operator should know."""

    version: Version
    previous: Version | None
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: bool = False
    judged: bool = False


class Steps:
    """Does what is missing, or only says so."""

    def __init__(self, done: Done, *, dry_run: bool) -> None:
        """Steps are noted in `done`."""
        self._done = done
        self._dry_run = dry_run

    def need(self, missing: bool, text: str, act: Callable[[], object]) -> bool:
        """Where it is missing: note the step, and `act` unless nothing is to be done; whether it was missing."""
        if missing:
            self._done.steps.append(text)
            if not self._dry_run:
                act()
        return missing
