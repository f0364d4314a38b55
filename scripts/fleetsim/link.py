"""The clock that jumps, and links: an uplink that serves its flows in turn, a downlink that is a queue."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

CHUNK: Final = 64 * 1024  # bytes on the wire at a time
IN_FLIGHT: Final = 3 * CHUNK  # bytes of one flow between sender and receiver


class Clock:
    """Events in order of time; those of one time in the order in which they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._made = 0

    def after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Call it `delay` seconds from now."""
        self._made += 1
        heappush(self._events, (self.now + delay, self._made, call, args))

    def step(self) -> bool:
        """Jump to the next event; false when there is none."""
        if not self._events:
            return False
        self.now, _, call, args = heappop(self._events)
        call(*args)
        return True


@dataclass(slots=True)
class Job:
    """A piece that one node sends to another."""

    piece: int
    size: int  # bytes
    left: int  # bytes not sent yet
    landed: int = 0  # bytes arrived


@dataclass(slots=True)
class Flow:
    """What one node has still to send to one other."""

    to: "Port"
    jobs: deque[Job] = field(default_factory=deque)
    in_flight: int = 0  # bytes


class Port:
    """A node's link. Rates in bytes/s, latency in seconds one way."""

    def __init__(
        self, clock: Clock, up: float, down: float, latency: float, arrived: Callable[["Port", Job, int], None]
    ) -> None:
        self._clock, self.up, self.down, self.latency = clock, up, down, latency
        self._arrived = arrived
        self._turn: deque[Flow] = deque()
        self._busy = False
        self._down_free = 0.0
        self.flows: dict[Port, Flow] = {}
        self.sent = 0  # bytes
        self.gone = False

    def send(self, to: "Port", piece: int, size: int) -> None:
        """Queue a piece for another node."""
        flow = self.flows.setdefault(to, Flow(to))
        if not flow.jobs:
            self._turn.append(flow)
        flow.jobs.append(Job(piece, size, size))
        self._pump()

    def drop(self, to: "Port", piece: int) -> None:
        """Send no more of a piece."""
        flow = self.flows.get(to)
        if flow is not None:
            flow.jobs = deque(job for job in flow.jobs if job.piece != piece)
            if not flow.jobs and flow in self._turn:
                self._turn.remove(flow)

    def close(self, to: "Port") -> None:
        """Forget what was to be sent to a node."""
        flow = self.flows.pop(to, None)
        if flow is not None and flow in self._turn:
            self._turn.remove(flow)

    def _pump(self) -> None:
        if self._busy or self.gone:
            return
        for _ in range(len(self._turn)):
            flow = self._turn.popleft()
            if flow.in_flight >= IN_FLIGHT:
                self._turn.append(flow)
                continue
            job = flow.jobs[0]
            size = min(CHUNK, job.left)
            job.left -= size
            if not job.left:
                flow.jobs.popleft()
            if flow.jobs:
                self._turn.append(flow)
            flow.in_flight += size
            self._busy = True
            self.sent += size
            self._clock.after(size / self.up, self._departed, flow, job, size)
            return

    def _departed(self, flow: Flow, job: Job, size: int) -> None:
        self._busy = False
        to = flow.to
        reach = self._clock.now + self.latency + to.latency
        to._down_free = max(to._down_free, reach) + size / to.down
        self._clock.after(to._down_free - self._clock.now, self._landed, flow, job, size)
        self._pump()

    def _landed(self, flow: Flow, job: Job, size: int) -> None:
        flow.in_flight -= size
        job.landed += size
        if not flow.to.gone:
            flow.to._arrived(self, job, size)
        self._pump()
