"""From the counters of interfaces and sessions to `Traffic`: who moved how much, over the last half second.

The payload of an interface is its bytes less 66 for each packet: that is right whether the card counts a burst as one
packet or many, and acknowledgements vanish. What is not ours of it is somebody else's.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dfedge.throttle.load import Traffic
from dfedge.throttle.path import HEADERS4, Step
from dfedge.throttle.route import Routes

WINDOW_S: Final = 0.5  # shorter windows see 10 Mbit/s of noise beside 95 of our own
MEMORY_S: Final = 300.0  # in which what a path has carried is believed less, by a factor e
SMOOTH: Final = 0.3  # weight of the newest step in a session's rate
ACTIVE: Final = 2048  # bytes in a step, of a session that moves something


@dataclass(frozen=True, slots=True)
class Counter:
    """An interface since it came up: bytes and packets, up and down."""

    bytes_up: int
    bytes_down: int
    packets_up: int
    packets_down: int


@dataclass(frozen=True, slots=True)
class _Moved:
    """Between two looks: payload bytes (up, down) of ours and of everybody."""

    seconds: float
    own: tuple[float, float]
    total: tuple[float, float]


@dataclass(slots=True)
class _Peak:
    """What one session has moved at best, up and down, in bytes/s."""

    rate: tuple[float, float] = (0.0, 0.0)
    most: tuple[float, float] = (0.0, 0.0)

    def note(self, step: Step, seconds: float, kept: float) -> None:
        """`kept` is what is still believed of the most."""
        up = self.rate[0] + SMOOTH * (step.up / seconds - self.rate[0])
        down = self.rate[1] + SMOOTH * (step.down / seconds - self.rate[1])
        self.rate = (up, down)
        self.most = (max(up, self.most[0] * kept), max(down, self.most[1] * kept))


class Meters:
    """The interfaces that sessions use, from look to look."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._before: dict[str, Counter] = {}
        self._at = 0.0
        self._moved: dict[str, deque[_Moved]] = {}
        self._peaks: dict[int, _Peak] = {}  # by the session's identity
        self.bursts: dict[str, tuple[float, float]] = {}  # the card's packets for one of TCP's

    def step(
        self, now: float, counters: Mapping[str, Counter], steps: Sequence[Step]
    ) -> dict[str, tuple[Traffic, Traffic]]:
        """Take a look; returns (up, down) of each interface that a session uses."""
        seconds, self._at = now - self._at, now
        self._peaks = {id(step.session): self._peaks.get(id(step.session), _Peak()) for step in steps}
        if 0 < seconds < 5:
            kept = math.exp(-seconds / MEMORY_S)
            for step in steps:
                self._peaks[id(step.session)].note(step, seconds, kept)
        by_interface: dict[str, list[Step]] = {}
        for step in steps:
            name = self._routes.of(step.session.address).interface
            if name not in {"lo", ""}:
                by_interface.setdefault(name, []).append(step)
        found = {}
        for name, ours in by_interface.items():
            counter = counters.get(name)
            before = self._before.get(name)
            if counter is not None and before is not None and 0 < seconds < 5:
                self._note(name, seconds, before, counter, ours)
            found[name] = (self._traffic(name, ours, 0), self._traffic(name, ours, 1))
        for name in [name for name in self._moved if name not in by_interface]:
            del self._moved[name]
        self._before = dict(counters)
        return found

    def _note(self, name: str, seconds: float, before: Counter, after: Counter, ours: Sequence[Step]) -> None:
        packets = (after.packets_up - before.packets_up, after.packets_down - before.packets_down)
        moved = (after.bytes_up - before.bytes_up, after.bytes_down - before.bytes_down)
        own = (float(sum(step.up for step in ours)), float(sum(step.down for step in ours)))
        payload = (max(0.0, moved[0] - HEADERS4 * packets[0]), max(0.0, moved[1] - HEADERS4 * packets[1]))
        kept = self._moved.setdefault(name, deque())
        kept.append(_Moved(seconds, own, payload))
        while len(kept) > 1 and sum(each.seconds for each in kept) - kept[0].seconds >= WINDOW_S - 0.001:
            kept.popleft()
        counted = (sum(step.packets_up for step in ours), sum(step.packets_down for step in ours))
        self.bursts[name] = (
            min(1.0, packets[0] / counted[0]) if counted[0] else 1.0,
            min(1.0, packets[1] / counted[1]) if counted[1] else 1.0,
        )

    def _traffic(self, name: str, ours: Sequence[Step], way: int) -> Traffic:
        kept = self._moved.get(name)
        if not kept:
            return Traffic()
        seconds = sum(each.seconds for each in kept)
        own = sum(each.own[way] for each in kept) / seconds
        total = sum(each.total[way] for each in kept) / seconds
        active = [step for step in ours if (step.down if way else step.up) >= ACTIVE]
        fresh = [step for step in active if step.info.fresh]
        if not fresh:
            return Traffic(own, max(own, total), peers=len(active))
        delay, rtt, peer, strain = min(
            (
                step.info.delay_s(on_link=self._routes.of(step.session.address).on_link),
                step.info.rtt_s,
                step.session.name,
                step.session.strain[way],
            )
            for step in fresh
        )
        proven = sum(self._peaks[id(step.session)].most[way] for step in active)
        return Traffic(own, max(own, total), delay, rtt, len(active), peer, proven, strain)
