"""Changing from one version to another on trial: it stays only if the agent is healthy with it.

Order of writes: the mark `trial`, synced; then the link; then the restart. At the end the link `previous`, and last the
mark goes. Whoever dies in between leaves the mark, on which `guard` or the next command acts.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dfedge.core.errors import Refused
from dfedge.core.units import duration
from dfedge.install import guard
from dfedge.install.file import write
from dfedge.install.place import Place
from dfedge.install.system import System
from dfedge.install.version import Version, find, keep, linked

HEALTHY_WITHIN_S: Final = 60.0
STEADY_S: Final = 5.0  # what fails at once must not pass for healthy
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Health:
    """What the agent says of itself; `up` is how many seconds it has run."""

    ok: bool
    text: str
    up: float = 0.0


@dataclass(frozen=True, slots=True)
class Judge:
    """Who restarts the agent, and how its health is known."""

    system: System
    probe: Callable[[], Health]
    within_s: float = HEALTHY_WITHIN_S
    steady_s: float = STEADY_S
    poll_s: float = POLL_S

    @property
    def can(self) -> bool:
        """Whether an agent runs here, or should. One that was stopped by hand is not started to be judged."""
        return self.system.runs and self.system.state not in ("inactive", "unknown")

    def restarted(self) -> str:
        """Restart the agent and say what is wrong with it; nothing once it is healthy."""
        began = time.monotonic()
        self.system.restart()
        wrong = "it did not answer"
        while (passed := time.monotonic() - began) < self.within_s:
            health = self.probe()
            if health.ok and self.steady_s <= health.up <= passed + 1 and self.system.state == "active":
                return ""
            wrong = health.text
            time.sleep(self.poll_s)
        return wrong


def switch(place: Place, new: Version, judge: Judge) -> bool:
    """Make `new` the version that runs; whether it was judged. The caller is `alone`.

    Raises Refused where the agent was not healthy with it; then the version before runs again.
    """
    folder, old = place.folder, linked(place.folder, guard.CURRENT)
    if old is None:
        guard.repoint(folder, guard.CURRENT, new.id)
        return False
    if not judge.can:
        guard.repoint(folder, guard.PREVIOUS, old.id)
        guard.repoint(folder, guard.CURRENT, new.id)
        keep(folder, new.id, old.id)
        return False
    write(folder / guard.TRIAL, f"{new.id} {old.id}\n", 0o644)
    try:
        guard.repoint(folder, guard.CURRENT, new.id)
        wrong = judge.restarted()
    except BaseException:
        _back(place, judge)
        raise
    if wrong:
        guard.go_back(folder)
        forget_others(place)
        still = judge.restarted()
        now = f"{old.label} is back, and not healthy either: {still}" if still else f"{old.label} runs again"
        within = duration(judge.within_s)
        raise Refused(f"{new.label}: not healthy within {within}: {wrong}; {now}", "journalctl -eu dfedge")
    _accept(place, new.id, old.id)
    return True


def settle(place: Place, judge: Judge) -> str:
    """End a trial whose judge was killed, and say how; nothing without one. The caller is `alone`."""
    trial = guard.read_trial(place.folder)
    if trial is None:
        if (place.folder / guard.TRIAL).exists():  # not by us
            guard.end_trial(place.folder)
        return ""
    new, old = trial
    if _runs_well(place, new, judge):
        _accept(place, new, old)
        return f"{_named(place, new)} was on trial, is healthy, and stays"
    _back(place, judge)
    return f"{_named(place, new)} was on trial, and nobody was left to judge it; back to {_named(place, old)}"


def _runs_well(place: Place, new: str, judge: Judge) -> bool:
    """Whether the agent that answers was started after the link was moved, and is healthy."""
    current = linked(place.folder, guard.CURRENT)
    if current is None or current.id != new or not judge.can or judge.system.state != "active":
        return False
    health = judge.probe()
    moved = os.lstat(place.folder / guard.CURRENT).st_mtime
    started = time.clock_gettime(time.CLOCK_REALTIME) - health.up
    return health.ok and health.up >= judge.steady_s and started > moved


def _back(place: Place, judge: Judge) -> None:
    guard.go_back(place.folder)
    if judge.can:
        judge.system.restart()


def _accept(place: Place, new: str, old: str) -> None:
    guard.repoint(place.folder, guard.PREVIOUS, old)
    guard.end_trial(place.folder)
    keep(place.folder, new, old)


def forget_others(place: Place) -> None:
    """Remove a version that was refused: all but those that links lead to."""
    kept = [linked(place.folder, link) for link in (guard.CURRENT, guard.PREVIOUS)]
    keep(place.folder, *(found.id for found in kept if found is not None))


def _named(place: Place, name: str) -> str:
    found = find(place.folder, name)
    return found.label if found else name
