"""From load and traffic to a budget, each part of it with its reason. Pure: time comes in.

One `Direction` for each way of each interface: a window by queueing delay, a rate by foreign bytes; the smaller wins.
Over them the host: caps, and what CPU, memory, heat, battery and disk leave. docs/design/0014-throttle.md says why.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from dfedge.core.units import line_rate
from dfedge.core.wire.message import MAX_STRAIN_MS
from dfedge.throttle.contest import Contest
from dfedge.throttle.load import Load, Traffic
from dfedge.throttle.policy import Policy, cap_words
from dfedge.throttle.rate import Rate
from dfedge.throttle.resource import Resources
from dfedge.throttle.strain import Strain
from dfedge.throttle.window import LEAST_PER_PEER, MOST, Window

LEAST_STRAIN_S: Final = 0.001  # seconds that peers hear of while another flow has a way, however little shows
WAYS: Final = ("up", "down")
FREE: Final = "no limit"
STRAINED: Final = 3.0  # targets; a round trip cannot tell which of its two ways queues


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be moved, in bytes/s (infinite: no limit), why, and the setting that would change it."""

    rate: float = math.inf
    reason: str = FREE
    setting: str = ""
    is_partial: bool = False  # it holds for some peers only


@dataclass(frozen=True, slots=True)
class Share:
    """One direction of an interface: what all our sessions there may take together."""

    rate: Limit  # for the bucket
    window: int | None  # bytes under way; None: any
    path: Limit  # what the window comes to as a rate
    capacity: float  # bytes/s, as far as we have seen
    strain_s: float = 0.0  # of a round trip that stands in the other way, behind another flow


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    up: Share
    down: Share


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent until the next step."""

    up: Limit = Limit()  # the one that counts, of all limits
    down: Limit = Limit()
    host_up: float = math.inf  # bytes/s, for the buckets: caps and the host's load
    host_down: float = math.inf
    links: Mapping[str, Link] | None = None
    limits: tuple[tuple[str, Limit], ...] = ()  # all that hold, with the way: for `why`
    workers: int = 2  # threads that hash and write
    write_pace: Limit = Limit()
    paused: str = ""  # why nothing may move at all
    reason: str = FREE  # the one that counts: of the way that comes nearest to its limit


class Direction:
    """One way of one interface."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._window = Window()
        self._rate = Rate()
        self._contest = Contest()
        self._strain = Strain()
        self._usual: float | None = None  # the window's size before another flow's queue was granted

    @property
    def yields(self) -> bool:
        """Whether another flow has the way now."""
        return self._rate.yielding

    def step(
        self, seen: Traffic, other: Traffic, policy: Policy, interval_s: float, *, strained: bool = False
    ) -> Share:
        """Decide for the next interval. `other` is the other way of the interface, `strained` that another flow has it:
        its queue is in our round trip too."""
        manner = policy.manner
        self._rate.step(seen, manner, policy.floor, interval_s)
        if manner.yields:
            more = self._contest.step(seen.own, other.own, interval_s)
            told = seen.delay_s if strained else seen.strain_s
            told = self._strain.granted_s if told is None else told  # nothing moves just now, and so nothing tells
            granted = self._strain.step(min(told, MAX_STRAIN_MS / 1000), has_room=self._rate.has_room(seen))
            if seen.delay_s is not None:
                self._remember(strained=strained or seen.strain_s > 0)
            self._step_window(seen, manner.target_s, manner.target_s * (STRAINED if strained else more), granted)
        strain = max(LEAST_STRAIN_S, self._strain.granted_s) if strained and manner.yields else 0.0
        return Share(self._limit(seen), *self._path(seen, policy), self._rate.capacity, strain)

    def _remember(self, *, strained: bool) -> None:
        """What is under way for another flow's queue would itself queue when that is gone."""
        if strained and self._usual is None:
            self._usual = self._window.size
        elif not strained and self._usual is not None:
            self._window.size, self._usual = min(self._window.size, self._usual), None

    def _step_window(self, seen: Traffic, target_s: float, allowed_s: float, granted_s: float) -> None:
        """`allowed_s` is what the path may queue, `granted_s` another flow's queue, which may stand there besides."""
        proven, delay = min(seen.proven, self._rate.capacity), seen.delay_s
        if delay is not None and target_s + granted_s > allowed_s:
            allowed_s = target_s + granted_s
            if delay < allowed_s:  # grow as fast as if that queue were a longer path
                delay, proven, allowed_s = max(0.0, delay - granted_s), proven * allowed_s / target_s, target_s
        spare = self._rate.capacity if self._rate.has_room(seen) and not self._rate.yielding else 0.0
        self._window.step(delay, seen.rtt_s, seen.own, seen.peers, allowed_s, proven, spare)

    def _limit(self, seen: Traffic) -> Limit:
        if self._rate.limit < math.inf:
            foreign = f"another flow on {self._interface} takes {line_rate(seen.foreign)}"
            return Limit(self._rate.limit, foreign, "throttle.profile")
        return Limit()

    def _path(self, seen: Traffic, policy: Policy) -> tuple[int | None, Limit]:
        if not policy.manner.yields:
            return None, Limit()
        window, rtt = self._window.size, seen.rtt_s
        if rtt is not None:
            window = max(window, self._rate.least * rtt)
            if self._rate.limit < math.inf:  # what is asked for already must not come faster than the rate
                window = min(window, max(self._rate.limit * rtt, LEAST_PER_PEER * max(1, seen.peers)))
        if window >= MOST or rtt is None or seen.delay_s is None or seen.delay_s < policy.manner.target_s / 2:
            return int(window), Limit()
        paths = f"the path to {seen.peer} queues" if seen.peers == 1 else f"the paths to {seen.peers} peers queue"
        return int(window), Limit(window / rtt, f"{paths} {seen.delay_s * 1000:.0f} ms", "throttle.profile")


class Controller:
    """Of a whole host."""

    def __init__(self) -> None:
        self._directions: dict[tuple[str, str], Direction] = {}
        self._resources = Resources()

    def step(
        self,
        traffic: Mapping[str, tuple[Traffic, Traffic]],
        load: Load | None,
        policy: Policy,
        interval_s: float,
        speeds: Mapping[str, float] = MappingProxyType({}),
    ) -> Budget:
        """Take a step: `traffic` is (up, down) of each interface, `load` a new sample if there is one, `speeds` are
        those of interfaces in bytes/s.

        Call it each 100 ms while bytes flow, else each second.
        """
        for key in [key for key in self._directions if key[0] not in traffic]:
            del self._directions[key]
        links = {
            name: Link(*map(_capped, self._link(name, seen, policy, interval_s), _shares(name, policy, speeds)))
            for name, seen in traffic.items()
        }
        own = [sum(seen[way].own for seen in traffic.values()) for way in (0, 1)]
        if load is not None:
            self._resources.step(load, max(own), policy, max(interval_s, 1.0))
        limits = tuple((way, limit) for way in WAYS for limit in self._limits(way, links, policy))
        tightest = {
            way: _tightest(limit for each, limit in limits if each == way and not limit.is_partial) for way in WAYS
        }
        nearest = max(WAYS[::-1], key=lambda way: _share(own[WAYS.index(way)], tightest[way].rate))
        pace = self._resources.why("down") if self._resources.disk_limit < math.inf else None
        return Budget(
            up=tightest["up"],
            down=tightest["down"],
            host_up=min(policy.host.of("up"), self._resources.rate("up")),
            host_down=min(policy.host.of("down"), self._resources.rate("down")),
            links=links,
            limits=limits,
            workers=self._resources.workers,
            reason=tightest[nearest].reason,
            write_pace=Limit(self._resources.disk_limit, pace.reason, f"throttle.{pace.setting}") if pace else Limit(),
            paused=policy.paused or self._dead(policy),
        )

    def _dead(self, policy: Policy) -> str:
        """Why the battery lets nothing move, where it is told to."""
        if not policy.battery_pauses:
            return ""
        return next((pressed.reason for pressed in self._resources.pressed if pressed.setting == "battery"), "")

    def _link(self, name: str, seen: tuple[Traffic, Traffic], policy: Policy, interval_s: float) -> tuple[Share, Share]:
        up, down = (self._directions.setdefault((name, way), Direction(name)) for way in WAYS)
        return (
            up.step(seen[0], seen[1], policy, interval_s, strained=down.yields),
            down.step(seen[1], seen[0], policy, interval_s, strained=up.yields),
        )

    def _limits(self, way: str, links: Mapping[str, Link], policy: Policy) -> Iterable[Limit]:
        if policy.paused:
            yield Limit(0.0, f"paused: {policy.paused}", policy.paused_by)
        if dead := self._dead(policy):
            yield Limit(0.0, f"paused: {dead}", "throttle.battery_action")
        if policy.uplink_held:
            reason = f"nothing goes beyond the LAN: {policy.uplink_held}"
            yield Limit(0.0, reason, policy.uplink_held_by, is_partial=True)
        for name in policy.metered:
            yield Limit(0.0, f"{name} is metered", "throttle.metered", is_partial=True)
        for caps, where, setting in (
            (policy.host, way, "max"),
            (policy.lan, f"{way} on the LAN", "lan_max"),
            (policy.uplink, f"{way} beyond the LAN", "uplink_max"),
        ):
            if caps.of(way) < math.inf:
                named = caps.by(way) or f"throttle.{setting}_{way}"
                yield Limit(caps.of(way), cap_words(caps.of(way), where), named)
        pressed = self._resources.why(way)
        if pressed is not None:
            rate = self._resources.rate(way)
            floor = " (the floor)" if rate <= policy.floor else ""
            yield Limit(rate, f"{pressed.reason}{floor}", f"throttle.{pressed.setting}")
        for link in links.values():
            share = link.up if way == "up" else link.down
            yield from (limit for limit in (share.rate, share.path) if limit.rate < math.inf)


def _shares(name: str, policy: Policy, speeds: Mapping[str, float]) -> tuple[Limit, Limit]:
    """The caps in per cent of an interface's speed, up and down."""
    caps, speed = [], speeds.get(name)
    for way in WAYS:
        share = policy.link_share(way)
        if share is None or speed is None:
            caps.append(Limit())
        else:
            reason = f"cap of {share:.0%} of {name} ({line_rate(speed)}) {way}"
            caps.append(Limit(share * speed, reason, f"throttle.max_{way}"))
    return caps[0], caps[1]


def _capped(share: Share, cap: Limit) -> Share:
    return replace(share, rate=cap) if cap.rate < share.rate.rate else share


def _tightest(limits: Iterable[Limit]) -> Limit:
    return min(limits, key=lambda limit: limit.rate, default=Limit())


def _share(own: float, limit: float) -> tuple[float, float]:
    """How near a way is to its limit; of two that rest the tighter counts."""
    return (own / limit if limit else math.inf, -limit)
