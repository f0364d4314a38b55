"""What the throttle is told, by whom: the settings, windows of the week, what is spent of the uplink, a pause by
command, and a file that another program holds."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import anyio

from dfedge.core.errors import DfedgeError
from dfedge.core.seams import Clock
from dfedge.throttle.orders import Orders
from dfedge.throttle.policy import Policy
from dfedge.throttle.quota import Used
from dfedge.throttle.timetable import Window, in_force, wall_time

LOOK_S: Final = 0.5  # seconds between two looks at the file, the clock and the end of a pause
SAVE_S: Final = 60.0  # seconds between two writes of what is spent: a power cut forgets at most so much
log = logging.getLogger("dfedge.throttle")


def _is_there(path: Path) -> bool:
    """Whether a file is there; one that may not be looked at holds nothing up."""
    try:
        return path.exists()
    except OSError:
        return False


class Kept(Protocol):
    """Where what is spent of the uplink outlives the agent."""

    def read(self) -> Used | None: ...

    def write(self, used: Used) -> None:
        """Raises DfedgeError."""
        ...


class Steering:
    """Makes one policy of it all and hands it on when it changes. A pause ends with the agent."""

    def __init__(
        self,
        orders: Orders,
        apply: Callable[[Policy], None],
        clock: Clock,
        wall: Clock,
        moved: Callable[[], float] = lambda: 0.0,
        kept: Kept | None = None,
    ) -> None:
        """`wall` is seconds since 1970; `moved` counts bytes beyond the LAN since the start, `kept` keeps them."""
        self._orders = orders
        self._apply = apply
        self._clock = clock
        self._wall = wall
        self._moved = moved
        self._kept = kept
        self._until: float | None = None  # monotonic seconds; infinite: until somebody resumes
        self._applied: Policy | None = None
        self.used = (kept.read() if kept is not None else None) or Used(self._now.date())
        self._saved = self.used
        self._saved_at = -math.inf
        self._counted = moved()
        self.look()

    @property
    def orders(self) -> Orders:
        """What the settings say."""
        return self._orders

    @property
    def paused(self) -> str:
        """Why nothing moves; empty if it may."""
        return "" if self._applied is None else self._applied.paused

    @property
    def pause_left_s(self) -> float | None:
        """Seconds that a pause by command still lasts, infinite for one without an end; None: there is none."""
        return None if self._until is None else self._until - self._clock()

    @property
    def windows(self) -> list[Window]:
        """Those that hold now."""
        return in_force(self._orders.windows, self._now)

    @property
    def _now(self) -> datetime:
        return wall_time(self._wall(), self._orders.zone)

    def settings(self, orders: Orders) -> None:
        """Go by other settings from now on; a pause goes on."""
        self._orders = orders
        self.look()

    def pause(self, seconds: float | None) -> None:
        """Let nothing move for so long, or until somebody resumes."""
        self._until = self._clock() + (math.inf if seconds is None else seconds)
        self.look()

    def resume(self) -> None:
        """End a pause by command; what a file or a window holds back stays held back."""
        self._until = None
        self.look()

    def look(self) -> None:
        """See what holds now, and hand it on if it is another policy than before."""
        if self._until is not None and self._until <= self._clock():
            self._until = None
        self._count()
        policy = self._policy()
        if policy != self._applied:
            self._applied = policy
            self._apply(policy)

    def _policy(self) -> Policy:
        policy = self._orders.policy
        for window in self.windows:
            policy = window.over(policy)
        held, setting = self._orders.uplink.spent(self.used)
        if held:
            policy = replace(policy, uplink_held=held, uplink_held_by=setting)
        hold_file = self._orders.hold_file
        if self._until is not None:
            why = "by command" if self._until == math.inf else "by command, for a time"
            policy = replace(policy, paused=why, paused_by="")
        elif hold_file is not None and _is_there(hold_file):
            policy = replace(policy, paused=f"{hold_file} exists", paused_by="throttle.hold_file")
        return policy

    def _count(self) -> None:
        """Add what went beyond the LAN since the last look, on the day that it is now."""
        moved = self._moved()
        nbytes, self._counted = max(0, round(moved - self._counted)), moved
        self.used = self.used.add(nbytes, self._now.date())
        if self._clock() - self._saved_at >= SAVE_S:
            self.save()

    def save(self) -> None:
        """Keep what is spent, if it has grown."""
        if self._kept is None or (self.used.in_day, self.used.in_month) == (self._saved.in_day, self._saved.in_month):
            return
        self._saved_at, self._saved = self._clock(), self.used
        try:
            self._kept.write(self.used)
        except DfedgeError as error:
            log.warning("bytes spent not kept error=%s", error)

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self.look()
                await anyio.sleep(LOOK_S)
        finally:
            self.save()
