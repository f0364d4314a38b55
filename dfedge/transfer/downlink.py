"""All that we ask for, over all images and peers: requests go out as their answers may come in, the urgent first."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dfedge.core.seams import Allowance, Lane
from dfedge.transfer.ask import Asker

MOST_REQUESTS: Final = 256  # sent before the event loop has a turn
GIVE_WAY_S: Final = 1.0  # seconds since a higher priority asked for something, in which lower ones ask for nothing
LOOK_S: Final = 0.1  # seconds until they look again


class Downlink:
    """Askers take turns, a block each; without a limit a whole piece goes out at once."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._askers: deque[tuple[Asker, Lane]] = deque()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._asked_at: dict[int, float] = {}  # by priority, on the loop's clock

    @contextmanager
    def asking(self, asker: Asker, address: str) -> Iterator[None]:
        """Let an asker take turns, for as long as its session with `host:port` lasts."""
        with self._allowance.lane(address) as lane:
            entry = (asker, lane)
            self._askers.append(entry)
            asker.turn, asker.gives_way = self.pump, self.gives_way
            try:
                yield
            finally:
                self._askers.remove(entry)

    def pump(self) -> None:
        """Ask for what may come now."""
        if self._timer is not None:
            return
        soonest: float | None = None
        stalled = 0  # askers in a row that could not go
        loop = asyncio.get_running_loop()
        for _ in range(MOST_REQUESTS):
            if stalled >= len(self._askers):
                break
            asker, lane = self._askers[0]
            self._askers.rotate(-1)
            wait = self._serve(asker, lane)
            if wait == 0.0:
                stalled = 0
                continue
            stalled += 1
            if wait is not None:
                soonest = wait if soonest is None else min(soonest, wait)
        else:
            self._timer = loop.call_soon(self._resume)
            return
        if soonest is not None:
            self._timer = loop.call_later(soonest, self._resume)

    def _serve(self, asker: Asker, lane: Lane) -> float | None:
        """Let an asker ask once: 0.0 if it did, else the seconds until it may; None: when an answer has come."""
        if not asker.waiting:
            return None
        taker = asker.waiting[0].taker
        image, priority = taker.image, taker.priority
        if self.gives_way(priority):
            return LOOK_S
        wait = lane.wait(image)
        if wait > 0:
            return wait
        grain, ahead = lane.grain, lane.ahead
        if grain is not None and ahead is not None and asker.outstanding > max(grain, ahead // self._active()):
            return None
        self._asked_at[priority] = asyncio.get_running_loop().time()
        lane.spend(asker.send(grain), image)
        return 0.0

    def gives_way(self, priority: int) -> bool:
        """Whether an image of that priority waits, as one of a higher is being fetched and gets on."""
        if not any(other > priority for other in self._asked_at):
            return False
        now = asyncio.get_running_loop().time()
        return any(other > priority and now - at < GIVE_WAY_S for other, at in self._asked_at.items())

    def _active(self) -> int:
        return max(1, sum(bool(asker.waiting or asker.outstanding) for asker, _ in self._askers))

    def _resume(self) -> None:
        self._timer = None
        self.pump()
