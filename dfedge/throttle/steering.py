"""What the throttle is told, by whom: the settings, a pause by command, and a file that another program holds."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio

from dfedge.core.seams import Clock
from dfedge.core.units import duration
from dfedge.throttle.policy import Policy

LOOK_S: Final = 0.5  # seconds between two looks at the file and at the end of a pause


class Steering:
    """Makes one policy of it all and hands it on when it changes. A pause ends with the agent."""

    def __init__(self, policy: Policy, hold_file: Path | None, apply: Callable[[Policy], None], clock: Clock) -> None:
        self._policy = policy
        self._hold_file = hold_file
        self._apply = apply
        self._clock = clock
        self._until: float | None = None  # monotonic seconds; infinite: until somebody resumes
        self._applied = policy

    @property
    def paused(self) -> str:
        """Why nothing moves; empty if it may."""
        return self._applied.paused

    @property
    def pause_left_s(self) -> float | None:
        """Seconds that a pause by command still lasts, infinite for one without an end; None: there is none."""
        return None if self._until is None else self._until - self._clock()

    def settings(self, policy: Policy, hold_file: Path | None) -> None:
        """Go by other settings from now on; a pause goes on."""
        self._policy, self._hold_file = policy, hold_file
        self.look()

    def pause(self, seconds: float | None) -> None:
        """Let nothing move for so long, or until somebody resumes."""
        self._until = self._clock() + (math.inf if seconds is None else seconds)
        self.look()

    def resume(self) -> None:
        """End a pause by command; what a file holds back stays held back."""
        self._until = None
        self.look()

    def look(self) -> None:
        """See what holds now, and hand it on if it is another policy than before."""
        if self._until is not None and self._until <= self._clock():
            self._until = None
        policy = replace(self._policy, paused=self._why())
        if policy != self._applied:
            self._applied = policy
            self._apply(policy)

    def _why(self) -> str:
        if self._until is not None:
            return "by command" if self._until == math.inf else "by command, for a time"
        if self._hold_file is not None and self._hold_file.exists():
            return f"{self._hold_file} exists"
        return ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await anyio.sleep(LOOK_S)


def left_words(seconds: float | None) -> str:
    """How long a pause lasts, for people."""
    if seconds is None:
        return ""
    return "until dfedge throttle resume" if seconds == math.inf else f"for {duration(seconds)} more"
