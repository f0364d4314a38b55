"""Giving way to other traffic on our own interface: the bytes that are not ours say more than any delay. Pure.

A newcomer behind a link that we fill gets 1 to 4 per cent of it, and no queue tells; so two per cent of foreign bytes
are the sign to give way, and their end the sign to come back.
"""

import math
from typing import Final

from dfedge.throttle.load import Traffic
from dfedge.throttle.policy import Manner

MEMORY_S: Final = 300.0  # in which the capacity that was seen is believed less, by a factor e
TICKS: Final = 3  # in a row before the mind is changed
TAUGHT_S: Final = 1.0  # of free transfer, before which the capacity is nonsense
FULL: Final = 0.92  # of the capacity: beyond, there is no room
AIM: Final = 0.88  # of the capacity that both may take together


class Rate:
    """Of one direction of one interface."""

    def __init__(self) -> None:
        self.capacity = 0.0  # bytes/s, the most seen in any half second
        self.limit = math.inf  # bytes/s
        self.yielding = False
        self.least = 0.0  # bytes/s that we keep
        self._signs = 0
        self._taught_s = 0.0

    def has_room(self, seen: Traffic) -> bool:
        """Whether nothing of ours can queue in this way of our link: it carries less than we know it to carry."""
        return seen.total < FULL * self.capacity

    def step(self, seen: Traffic, manner: Manner, floor: float, interval_s: float) -> None:
        """Look at the last half second."""
        self.capacity = max(seen.total, self.capacity * math.exp(-interval_s / MEMORY_S))
        self.least = max(floor, manner.share * self.capacity)
        if not manner.yields:
            self.limit, self.yielding = math.inf, False
            return
        if not self.yielding and seen.own > floor:
            self._taught_s += interval_s
        self._change_mind(seen)
        if self.yielding:
            self._give_way(seen, manner)
        elif self.limit < math.inf:
            self.limit *= 1.5
            if self.limit > self.capacity:
                self.limit = math.inf

    def _change_mind(self, seen: Traffic) -> None:
        if self.yielding:
            sign = seen.foreign < max(0.01 * self.capacity, 31_250)
        else:
            sign = seen.foreign >= max(0.02 * self.capacity, 62_500) and self._taught_s >= TAUGHT_S
        self._signs = self._signs + 1 if sign else 0
        if self._signs < TICKS:
            return
        self._signs = 0
        self.yielding = not self.yielding
        if self.yielding:
            self.limit = min(self.limit, max(seen.own, 0.05 * self.capacity), self.capacity)

    def _give_way(self, seen: Traffic, manner: Manner) -> None:
        capacity = self.capacity
        if seen.delay_s is not None and seen.delay_s > 3 * manner.target_s:
            self.limit *= 0.6
        elif seen.total > FULL * capacity:
            self.limit = max(0.6 * self.limit, self.limit - max(0.02 * capacity, seen.total - AIM * capacity))
        elif seen.total < AIM * capacity:
            room = capacity - seen.foreign - 0.05 * capacity
            self.limit = min(self.limit + 0.04 * capacity, max(room, self.limit * 0.6))
        self.limit = max(self.limit, self.least)
