"""The tick: sample → controller → limiter and sockets. Ten times a second while bytes flow, more seldom where that
would take over a hundredth of a core, and once a second at rest."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import anyio

from dfedge.core.seams import Clock
from dfedge.throttle.actuator import Valve
from dfedge.throttle.bucket import TokenBucket
from dfedge.throttle.controller import Budget, Controller, Link
from dfedge.throttle.limiter import MOST_WAIT, Limiter
from dfedge.throttle.load import Load, Traffic
from dfedge.throttle.path import Paths, Session, Step
from dfedge.throttle.policy import Policy
from dfedge.throttle.route import Routes
from dfedge.throttle.sample import Sampler
from dfedge.throttle.strain import Told
from dfedge.throttle.traffic import ACTIVE, Meters

BUSY_S: Final = 0.1  # seconds between two ticks while bytes flow
SLOWEST_S: Final = 0.3  # the same on a host where a tick is dear: another flow must still be seen within a second
SHARE: Final = 0.01  # of a core that ticks may take
RECENT: Final = 0.1  # weight of the last tick in what a tick costs
REST_S: Final = 1.0
CALM_S: Final = 2.0  # seconds without bytes after which we rest
SAMPLE_S: Final = 1.0  # seconds between two samples of the host
SLOW_SAMPLE_S: Final = 5.0  # the same at rest: nothing of ours is there to be held back
ROUTES_S: Final = 5.0
PACED: Final = 4_000_000  # bytes/s; below such rates a block would leave in one burst
PACE: Final = 1.1  # of the rate: the bucket sets the average, the pace only spreads it
log = logging.getLogger("dfedge.throttle")


def pause_s(cost_s: float) -> float:
    """Seconds until the next tick while bytes flow, of ticks that take so many seconds of CPU each."""
    return min(SLOWEST_S, max(BUSY_S, cost_s / SHARE))


class Throttle:
    """Keeps `limiter` and the sessions' sockets to what the host leaves us, by a policy that may change at any time."""

    def __init__(
        self,
        policy: Policy,
        sessions: Callable[[], Iterable[Session]],
        folder: Path,
        clock: Clock = time.monotonic,
        work: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`folder` lies on the disk that is watched; `work` is told how many threads may hash and write.

        Raises ValueError for a policy that makes no sense.
        """
        self.routes = Routes(policy.lan_prefixes)
        self.limiter = Limiter(self.routes, self._stir, clock)
        self.budget = Budget()
        self.load = Load()
        self.traffic: dict[str, tuple[Traffic, Traffic]] = {}
        self._policy = policy
        self._sessions = sessions
        self._clock = clock
        self._work = work
        self._sampler = Sampler(folder, clock)
        self._controller = Controller()
        self._paths = Paths()
        self._meters = Meters(self.routes)
        self._valves: dict[int, Valve] = {}
        self._writes = TokenBucket()  # of what does not come over a lane
        self._told: dict[int, Told] = {}
        self._stirred = anyio.Event()
        self._speeds: dict[str, float] = {}  # of interfaces, in bytes/s
        self._ticked_at = self._sampled_at = self._moved_at = self._routes_at = -math.inf
        self.change(policy)

    @property
    def policy(self) -> Policy:
        """What holds now."""
        return self._policy

    @property
    def missing(self) -> list[str]:
        """What this host does not tell."""
        used = [name for name in self.traffic if self._wants_speeds and name not in self._speeds]
        return [*self._sampler.missing, *(f"speed of {name}" for name in used)]

    @property
    def disk_is_busy(self) -> bool:
        """Whether programs wait for the disk, so that nothing of ours should read or write that can wait."""
        return self.budget.write_pace.rate < math.inf

    async def before_write(self, nbytes: int) -> None:
        """Wait until so many bytes that no peer sent may be written, while programs wait for the disk."""
        self._moved_at = self._clock()  # the host is looked at as often as in a transfer
        self._stir()
        while (wait := self._writes.wait(self._clock())) > 0:
            await anyio.sleep(min(wait, MOST_WAIT))
            self._moved_at = self._clock()
        self._writes.spend(nbytes, self._clock())

    @property
    def moved_beyond(self) -> float:
        """Bytes on the wire beyond the LAN since the start, both ways."""
        return self.limiter.up.moved_beyond + self.limiter.down.moved_beyond

    @property
    def _wants_speeds(self) -> bool:
        return self._policy.link_up is not None or self._policy.link_down is not None

    def change(self, policy: Policy) -> None:
        """Go by another policy from now on. Raises ValueError for one that makes no sense."""
        self.routes.count_as_lan(policy.lan_prefixes)
        self._policy = policy
        self._reroute()
        self._speeds = self._sampler.speeds() if self._wants_speeds else {}
        self.budget = self._controller.step(self.traffic, None, policy, 0.0, self._speeds)
        self._apply()

    async def run(self) -> None:
        """Tick until cancelled."""
        cost = 0.0  # seconds of CPU
        try:
            while True:
                began = time.thread_time()
                self.tick()
                cost += RECENT * (time.thread_time() - began - cost)
                busy = self._clock() - self._moved_at < CALM_S
                if busy:
                    await anyio.sleep(pause_s(cost))
                    continue
                self._stirred = anyio.Event()
                self.limiter.up.is_quiet = self.limiter.down.is_quiet = True
                with anyio.move_on_after(REST_S):
                    await self._stirred.wait()
        finally:
            for valve in self._valves.values():
                valve.open()

    def _stir(self) -> None:
        self._stirred.set()

    def tick(self) -> None:
        """Look, decide, act."""
        now = self._clock()
        if now - self._routes_at >= ROUTES_S:
            self._routes_at = now
            self._speeds = self._sampler.speeds() if self._wants_speeds else {}
            if self.routes.refresh():
                self._reroute()
        interval = min(REST_S, now - self._ticked_at)
        self._ticked_at = now
        sessions = list(self._sessions())
        self._keep_valves(sessions)
        steps = self._paths.step(sessions)
        self.traffic = self._meters.step(now, self._sampler.counters() if steps else {}, steps)
        if any(step.up >= ACTIVE or step.down >= ACTIVE for step in steps):
            self._moved_at = now
        self._settle(steps)
        load = None
        if now - self._sampled_at >= (SAMPLE_S if now - self._moved_at < CALM_S else SLOW_SAMPLE_S):
            self._sampled_at, self.load = now, self._sampler.sample()
            load = self.load
        self.budget = self._controller.step(self.traffic, load, self._policy, interval, self._speeds)
        self._apply()
        self._turn_valves(steps)
        self._tell(steps, now)

    def _reroute(self) -> None:
        self.limiter.up.reroute()
        self.limiter.down.reroute()

    def _settle(self, steps: list[Step]) -> None:
        """Spend what the wire carried beside payload."""
        for step in steps:
            address = step.session.address
            bursts = self._meters.bursts.get(self.routes.of(address).interface, (1.0, 1.0))
            if step.packets_up and (lane := self.limiter.up.find(address)) is not None:
                lane.settle(step.up + step.headers * step.packets_up * bursts[0])
            if step.packets_down and (lane := self.limiter.down.find(address)) is not None:
                lane.settle(step.down + step.headers * step.packets_down * bursts[1])

    def _apply(self) -> None:
        links = self.budget.links or {}
        up = {name: link.up.rate.rate for name, link in links.items()}
        down = {name: link.down.rate.rate for name, link in links.items()}
        self._work(self.budget.workers)
        if self._writes.rate != self.budget.write_pace.rate:
            self._writes.change(self.budget.write_pace.rate, self._clock())
        paused = bool(self.budget.paused)
        self.limiter.up.apply(self._policy, "up", self.budget.host_up, up, paused=paused)
        self.limiter.down.apply(self._policy, "down", self.budget.host_down, down, paused=paused)

    def _tell(self, steps: list[Step], now: float) -> None:
        """Say to peers how much of their round trips other flows in our links make up: they cannot know."""
        links = self.budget.links or {}
        if not self._told and not any(link.up.strain_s or link.down.strain_s for link in links.values()):
            return
        before, self._told = self._told, {}
        for step in steps:
            link = links.get(self.routes.of(step.session.address).interface)
            ways = (link.down.strain_s, link.up.strain_s) if link is not None else (0.0, 0.0)  # each in the other
            strain = (round(1000 * ways[0]), round(1000 * ways[1]))
            told = before.get(id(step.session))
            if told is None and not any(strain):
                continue
            told = self._told[id(step.session)] = told or Told()
            moves = step.up >= ACTIVE or step.down >= ACTIVE
            if (moves or not any(strain)) and told.is_due(strain, now):
                step.session.say_strained(*strain)
            if told.is_over and not any(strain):
                del self._told[id(step.session)]

    # Sockets.

    def _keep_valves(self, sessions: Iterable[Session]) -> None:
        kept: dict[int, Valve] = {}
        for session in sessions:
            sock = session.socket
            if sock is None:
                continue
            valve = self._valves.get(id(sock))
            if valve is None or valve.socket is not sock:
                valve = Valve(sock)
                valve.mark()
            kept[id(sock)] = valve
        self._valves = kept

    def _turn_valves(self, steps: list[Step]) -> None:
        links = self.budget.links or {}
        for step in steps:
            sock = step.session.socket
            valve = self._valves.get(id(sock))
            link = links.get(self.routes.of(step.session.address).interface)
            if valve is not None and link is not None:
                self._turn(valve, step.session.address, link)

    def _turn(self, valve: Valve, address: str, link: Link) -> None:
        up, down = self.traffic[self.routes.of(address).interface]
        if link.down.window is None or link.up.window is None:
            valve.open()
        else:
            valve.receive(link.down.window // max(1, down.peers))
            valve.send(link.up.window // max(1, up.peers))
        lane = self.limiter.up.find(address)
        rate = lane.rate if lane is not None else math.inf
        valve.pace(math.inf if rate > PACED else PACE * rate)
