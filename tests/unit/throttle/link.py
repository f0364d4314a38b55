"""A link in a test: a FIFO of 50 ms before it, our bytes and somebody else's, in steps of 10 ms of simulated time."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dfedge.throttle.controller import Direction, Share
from dfedge.throttle.load import Traffic
from dfedge.throttle.policy import Policy

MBIT: Final = 125_000.0  # bytes/s
STEP: Final = 0.01  # seconds
TICK: Final = 10  # steps between two looks of the controller
BUFFER_S: Final = 0.05
BASE_S: Final = 0.0005
MSS: Final = 1448.0


@dataclass(slots=True)
class Elastic:
    """A TCP flow that takes what it gets: Reno, halved when the buffer is full."""

    window: float = 10 * MSS
    fast: bool = True  # slow start

    def rate(self, rtt: float) -> float:
        return self.window / rtt

    def after(self, rtt: float, *, full: bool) -> None:
        if full:
            self.window, self.fast = max(2 * MSS, self.window / 2), False
        elif self.fast:
            self.window *= 2 ** (STEP / rtt)
        else:
            self.window += MSS * STEP / rtt


@dataclass(slots=True)
class Steady:
    """A flow of a fixed rate, a camera's say."""

    bytes_per_s: float

    def rate(self, rtt: float) -> float:
        return self.bytes_per_s

    def after(self, rtt: float, *, full: bool) -> None: ...


@dataclass
class Link:
    """Runs a `Direction` over it; `log` has one entry a tick: seconds, ours, foreign (bytes/s), delay, what it said."""

    capacity: float = 100 * MBIT
    policy: Policy = field(default_factory=Policy)
    peers: int = 1
    demand: float = math.inf
    noise: Callable[[int], float] = lambda step: 0.0  # bytes/s that the counters see too much
    log: list[tuple[float, float, float, float, Share]] = field(default_factory=list)
    foreign: Elastic | Steady | None = None
    _queue: float = 0.0
    _mine: float = 0.0
    _theirs: float = 0.0
    _step: int = 0

    def __post_init__(self) -> None:
        self.direction = Direction("eth0")
        self.share = self.direction.step(Traffic(), Traffic(), self.policy, 0.1)
        self._moved: deque[tuple[float, float]] = deque(maxlen=50)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self._advance()
            self._step += 1
            if self._step % TICK == 0:
                self._look()

    def _advance(self) -> None:
        rtt = BASE_S + self._queue / self.capacity
        window = math.inf if self.share.window is None else self.share.window
        wanted = min(window / rtt, self.share.rate.rate, self.demand, 4 * self.capacity)
        theirs = self.foreign.rate(rtt) if self.foreign else 0.0
        self._mine += wanted * STEP
        self._theirs += theirs * STEP
        backlog = self._mine + self._theirs
        sent = min(backlog, self.capacity * STEP)
        part = sent / backlog if backlog else 0.0
        self._moved.append((self._mine * part, self._theirs * part))
        self._mine -= self._mine * part
        self._theirs -= self._theirs * part
        room = BUFFER_S * self.capacity
        full = self._mine + self._theirs > room
        if full:
            scale = room / (self._mine + self._theirs)
            self._mine, self._theirs = self._mine * scale, self._theirs * scale
        # what is under way is bounded by the window
        self._mine = min(self._mine, window)
        self._queue = self._mine + self._theirs
        if self.foreign:
            self.foreign.after(rtt, full=full)

    def _look(self) -> None:
        seconds = len(self._moved) * STEP
        mine = sum(moved[0] for moved in self._moved) / seconds
        theirs = sum(moved[1] for moved in self._moved) / seconds
        delay = self._queue / self.capacity
        own = mine if self.demand else 0.0
        seen = Traffic(own, mine + theirs + self.noise(self._step), delay, BASE_S + delay, self.peers, "kiosk-07")
        self.share = self.direction.step(seen, Traffic(), self.policy, STEP * TICK)
        now = [sum(moved[way] for moved in list(self._moved)[-TICK:]) / (STEP * TICK) for way in (0, 1)]
        self.log.append((self._step * STEP, now[0], now[1], delay, self.share))

    def mean(self, what: int, since: float, until: float) -> float:
        """Of column 1 (ours), 2 (foreign) or 3 (delay)."""
        values = [float(row[what]) for row in self.log if since < row[0] <= until]  # type: ignore[arg-type]
        return sum(values) / len(values)

    def each(self, what: int, since: float, until: float) -> list[float]:
        return [float(row[what]) for row in self.log if since < row[0] <= until]  # type: ignore[arg-type]
