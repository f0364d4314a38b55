"""The places of connections that have not shown who they are: who gets one, and who leaves for another.

A silent connection costs a descriptor, a handshake milliseconds of CPU and 256 KiB: so whoever says nothing may be
replaced at any time and gets no further, and handshakes are fewer and are replaced slowly. An address that wasted a
handshake makes nobody leave for a while, and leaves first: a storm from a thousand addresses spends them.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from dfedge.core.seams import Clock

MAX_STRANGERS: Final = 32  # connections that have not authenticated yet
MAX_HANDSHAKES: Final = 24  # of them those that have begun to speak SSH
MAX_OF_ONE: Final = 4  # strangers from one address
REPLACED_PER_S: Final = 20  # handshakes that make room for new ones when all places are taken; each costs 2 ms of CPU
WASTED_S: Final = 60.0  # seconds for which an address that wasted a handshake has to stand back
MAX_WASTERS: Final = 4096  # addresses


@dataclass(slots=True, eq=False)
class Stranger:
    """A connection that has not shown who it is. `leave` ends it."""

    host: str
    leave: Callable[[], None]


class Strangers:
    """Who waits for a handshake and who is in one. Decides; the listener does."""

    def __init__(self, clock: Clock = anyio.current_time) -> None:
        self._clock = clock
        self._silent: list[Stranger] = []  # longest waiting first, as are those that speak
        self._speaking: list[Stranger] = []
        self._replaced: deque[float] = deque(maxlen=REPLACED_PER_S)
        self._wasters: OrderedDict[str, float] = OrderedDict()

    def admit(self, stranger: Stranger) -> bool:
        """Find a place for a new connection: if all are taken, the longest silent of the most crowded address goes."""
        crowd = self._crowd()
        if crowd[stranger.host] >= MAX_OF_ONE:
            return False
        if len(self._silent) + len(self._speaking) >= MAX_STRANGERS:
            if not self._silent:
                return False
            self._part(max(self._silent, key=lambda other: crowd[other.host]))
        self._silent.append(stranger)
        return True

    def speaks(self, stranger: Stranger) -> bool:
        """It has begun to speak SSH: whether it may shake hands, for which one that wasted a place leaves first."""
        if len(self._speaking) >= MAX_HANDSHAKES and not self._make_room(stranger):
            return False
        self._silent.remove(stranger)
        self._speaking.append(stranger)
        return True

    def wasted(self, stranger: Stranger) -> None:
        """It kept a place and nothing came of it."""
        self._wasters[stranger.host] = self._clock() + WASTED_S
        self._wasters.move_to_end(stranger.host)
        if len(self._wasters) > MAX_WASTERS:
            self._wasters.popitem(last=False)

    def known(self, host: str) -> None:
        """Somebody at that address has shown who he is."""
        self._wasters.pop(host, None)

    def gone(self, stranger: Stranger) -> None:
        """Its place is free again."""
        for places in (self._silent, self._speaking):
            if stranger in places:
                places.remove(stranger)

    def _crowd(self) -> Counter[str]:
        return Counter(stranger.host for stranger in (*self._silent, *self._speaking))

    def _make_room(self, newcomer: Stranger) -> bool:
        now = self._clock()
        crowd = self._crowd()
        leaver = max(self._speaking, key=lambda other: (self._has_wasted(other.host, now), crowd[other.host]))
        if self._has_wasted(newcomer.host, now) and not self._has_wasted(leaver.host, now):
            return False
        if len(self._replaced) == REPLACED_PER_S and now - self._replaced[0] < 1.0:
            return False
        self._replaced.append(now)
        self.wasted(leaver)
        self._part(leaver)
        return True

    def _has_wasted(self, host: str, now: float) -> bool:
        return self._wasters.get(host, 0.0) > now

    def _part(self, leaver: Stranger) -> None:
        self.gone(leaver)
        leaver.leave()
