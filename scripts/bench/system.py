"""What the benchmark asks of a system that distributes files."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from board import promise

from bench.scenario import Scenario
from bench.stage import Stage


class System(ABC):
    """One run of it: made for a stage, prepared, then set off at every taker. All methods raise Broken."""

    name: ClassVar[str]
    words: ClassVar[str]  # how it is set up, for the reader of the table

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @classmethod
    def missing(cls, _scenario: Scenario) -> str:
        """Why it can't take part here or in this scenario; empty when it can."""
        return ""

    @abstractmethod
    def prepare(self) -> None:
        """Start what runs beforehand in real life, and give the image to the seed. The clock stands."""

    @abstractmethod
    def go(self, taker: int) -> None:
        """Let a taker begin; returns at once."""

    @abstractmethod
    def done(self, taker: int) -> bool:
        """Whether the taker has all of it. Asked every few milliseconds: it must be quick."""

    def copy(self, taker: int) -> Path:
        """Where the taker's copy lies, to be hashed; the clock stands."""
        return self.stage.output(taker)

    def facts(self) -> dict[str, Any]:
        """What else is known after the run; the clock stands."""
        return {}

    def end_profiled(self) -> None:
        """End what runs under a profiler, so that it writes what it knows."""
        promise(False, f"{self.name}: can't be profiled")
