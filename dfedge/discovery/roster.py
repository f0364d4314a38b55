"""Who is said to be out there, and whom to dial now. All of it is hearsay until a handshake proves it.

A little longer than other modules: what is remembered, what is forgotten and who is dialled share one table.
"""

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

from dfedge.core.seams import NodeId

CAPACITY: Final = 4096  # addresses; a flood of fakes costs about 2 MiB
MAX_ADDRESSES: Final = 8  # of one node
UNPROVEN_PER_S: Final = 4  # dials; whoever can speak on the LAN can name addresses to us
UNPROVEN_PER_HOST: Final = 4  # dials under way; nobody can make us knock at all ports of a victim
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
HEARD_WAIT_S: Final = 10.0  # the longest wait once a proven peer is heard again: it may just have come back
PAUSE_S: Final = 0.25  # the shortest that next_dial() lets a caller sleep
DIAL_S: Final = 30.0  # after this a dial of which we heard nothing counts as over
MAX_NAME: Final = 63  # characters
OURSELVES: Final = "that is this node"  # the reason at a listed address that is our own
LOTS: Final = 16  # routes that one lot is drawn from; more would only cost

Via = Literal["mdns", "static", "pex"]
Address = tuple[str, int]
Key = tuple[NodeId | None, str, int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody says that a node is at an address. Static peers have no id yet; `name` is a hint for people."""

    id: NodeId | None
    host: str  # an address; a link-local one with its scope: fe80::1%eth0
    port: int
    via: Via
    name: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to dial. With an id, only that node may answer there."""

    id: NodeId | None
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class View:
    """A node as the roster sees it, for people. `retry_s` is 0.0 when it may be dialled now."""

    id: NodeId | None
    name: str
    addresses: tuple[Address, ...]
    via: tuple[Via, ...]
    reason: str  # why the last dial failed, if it did
    refused: bool  # whoever answered there, or we, would not have the session; else it did not come about
    last_seen: float
    retry_s: float


@dataclass(slots=True)
class _Route:
    id: NodeId | None
    host: str
    port: int
    via: Via
    name: str
    heard: float
    proven: float | None = None  # when it last answered as the node it should be
    failures: int = 0
    not_before: float = 0.0
    rests_until: float = 0.0
    lot: float = 0.0  # the order among those who came due in one second: nodes that start together don't dial alike
    dialled: float | None = None  # since when a dial is under way
    reason: str = ""
    refused: bool = False

    @property
    def key(self) -> Key:
        return (self.id, self.host, self.port)

    @property
    def due(self) -> float:
        return max(self.not_before, self.rests_until)

    def is_dialling(self, now: float) -> bool:
        return self.dialled is not None and now - self.dialled < DIAL_S


@dataclass(slots=True)
class Roster:
    """Bounded memory of addresses. `now` is the caller's monotonic time in seconds.

    An address that once answered as its node is *proven*: it is dialled first, and hearsay never displaces it.
    Static addresses are never dropped.
    """

    own: NodeId
    rng: random.Random
    capacity: int = CAPACITY
    _static: dict[Key, _Route] = field(default_factory=dict)
    _proven: OrderedDict[Key, _Route] = field(default_factory=OrderedDict)  # oldest success first
    _unproven: OrderedDict[Key, _Route] = field(default_factory=OrderedDict)  # longest unheard first
    _by_id: dict[NodeId, dict[Key, _Route]] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=UNPROVEN_PER_S))  # dials to unproven ones

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._static) + len(self._proven) + len(self._unproven)

    def heard(self, sighting: Sighting, now: float) -> None:
        """Remember what somebody says. Ourselves and impossible ports are passed over."""
        if sighting.id == self.own or not 1 <= sighting.port <= 65535:
            return
        if sighting.via == "static":
            self._list(sighting, now)
            return
        name = sighting.name[:MAX_NAME]
        key = (sighting.id, sighting.host, sighting.port)
        route = self._find(key)
        if route is None:
            if len(self) < self.capacity or self._evict(proven_too=False):
                where = (sighting.host, sighting.port)
                self._add(_Route(sighting.id, *where, sighting.via, name, now, not_before=now, lot=self.rng.random()))
            return
        route.heard = now
        route.name = name or route.name
        if key in self._unproven:
            self._unproven.move_to_end(key)
        elif route.not_before > now + HEARD_WAIT_S:
            route.not_before = now + HEARD_WAIT_S * self.rng.uniform(0.1, 1.0)

    def proven(self, node: NodeId, address: Address | None, now: float) -> None:
        """A handshake proved `node` at an address that we dialled; None when it dialled us (its port is not known)."""
        for known in self._by_id.get(node, {}).values():
            known.dialled = None
            if address is None:
                known.heard = now
        if address is None:
            return
        if node == self.own:
            self._pause_own(address, now)
            return
        route = self._settle(node, address, now)
        route.proven, route.heard = now, now
        route.failures, route.not_before, route.dialled, route.reason = 0, 0.0, None, ""
        self._add(route)

    def met(self, node: NodeId, address: Address, name: str, now: float) -> None:
        """`node` dialled us and says that it listens there: hearsay, but enough to know whose a listed address is."""
        self.proven(node, None, now)
        static = self._static.get((None, *address))
        if static is None or node == self.own:
            self.heard(Sighting(node, *address, "pex", name), now)
            return
        route = self._settle(node, address, now)
        route.name = route.name or name[:MAX_NAME]
        route.failures, route.not_before, route.dialled, route.reason = 0, 0.0, None, ""
        self._add(route)

    def rest(self, node: NodeId, until: float) -> None:
        """Leave a node alone for a while: we parted to make room for others."""
        for route in self._by_id.get(node, {}).values():
            route.rests_until = until

    def failed(self, address: Address, node: NodeId | None, reason: str, now: float, *, refused: bool = False) -> None:
        """A dial failed, or another node answered: wait 1 s, then twice as long each time, up to 5 minutes."""
        route = self._find((node, *address)) or self._find((None, *address))
        if route is None:
            return
        route.dialled = None
        route.failures += 1
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(route.failures - 1, 16))
        route.not_before = now + wait * self.rng.uniform(0.75, 1.0)
        route.reason, route.refused = reason[:200], refused
        if route.via == "static" and route.id is not None:
            # The board at a listed address may have been replaced: next time whoever of the fleet answers is right.
            self._drop(route)
            route.id = None
            self._add(route)

    def gone(self, node: NodeId, connected: Set[NodeId]) -> None:
        """A goodbye: forget hearsay about a node. Anybody can send one, so whoever is connected or proven stays."""
        if node in connected:
            return
        for route in list(self._by_id.get(node, {}).values()):
            if route.key in self._unproven:
                self._drop(route)

    def unlist(self, address: Address) -> None:
        """A static peer's name has another address now, or the operator took it off the list."""
        for route in [route for route in self._static.values() if (route.host, route.port) == address]:
            self._drop(route)

    def wake(self, now: float) -> None:
        """Our own network changed: what failed may work now, so proven and static addresses need not wait."""
        for route in chain(self._static.values(), self._proven.values()):
            route.not_before = min(route.not_before, now)
            route.failures = min(route.failures, 1)

    def offer(self, now: float, connected: Set[NodeId], is_near: Callable[[str], bool] = bool) -> "Offer":
        """Who may be dialled now. Proven addresses come first, then static ones, then hearsay; of each kind those near
        before others, and then in the order in which they came due.
        """
        busy = self._busy(now)
        ready = sorted(self._ready(now, connected, busy), key=lambda route: self._rank(route, is_near))
        return Offer(self, now, is_near, ready, busy)

    def dials(self, now: float, connected: Set[NodeId], limit: int) -> list[Candidate]:
        """Choose whom to dial now, at most `limit`, in that order."""
        offer = self.offer(now, connected)
        return [candidate for _ in range(limit) if (candidate := offer.take()) is not None]

    def next_dial(self, now: float, connected: Set[NodeId]) -> float | None:
        """In how many seconds (at least 0.25) dials() may have something; None when only news can change it."""
        busy = self._busy(now)
        times = [
            now + DIAL_S if route.id is not None and route.id in busy.nodes else max(route.due, now)
            for route in self._routes()
            if (route.id is None or route.id not in connected) and not route.is_dialling(now)
        ]
        return max(PAUSE_S, min(times) - now) if times else None

    def waiting(self, now: float, connected: Set[NodeId]) -> list[str]:
        """The addresses of nodes that are not connected and may be dialled now."""
        return [route.host for route in self._ready(now, connected, self._busy(now)) if route.id is not None]

    def views(self, now: float) -> list[View]:
        """Every node and every nameless address, proven ones first."""
        groups: list[list[_Route]] = [list(routes.values()) for routes in self._by_id.values()]
        groups += [[route] for route in self._routes() if route.id is None]
        found = []
        for group in sorted(groups, key=lambda group: min(map(self._rank, group))):
            routes = sorted(group, key=self._rank)
            latest = max(routes, key=lambda route: route.heard)
            failed = next((route for route in routes if route.reason), None)
            found.append(
                View(
                    id=latest.id,
                    name=latest.name or next((route.name for route in routes if route.name), ""),
                    addresses=tuple((route.host, route.port) for route in routes),
                    via=tuple(dict.fromkeys(route.via for route in routes)),
                    reason=failed.reason if failed else "",
                    refused=failed is not None and failed.refused,
                    last_seen=latest.heard,
                    retry_s=max(0.0, min(route.due for route in routes) - now),
                )
            )
        return found

    # What keeps it bounded

    def _routes(self) -> Iterator[_Route]:
        return chain(self._proven.values(), self._static.values(), self._unproven.values())

    def _find(self, key: Key) -> _Route | None:
        return self._static.get(key) or self._proven.get(key) or self._unproven.get(key)

    def _settle(self, node: NodeId, address: Address, now: float) -> _Route:
        """Take out the one route of a node to an address; a static one that we dialled unnamed gets its name now."""
        named, unnamed = self._find((node, *address)), self._find((None, *address))
        for route in (named, unnamed):
            if route is not None:
                self._drop(route)
        if unnamed is not None:
            unnamed.id = node
            unnamed.name = unnamed.name or (named.name if named else "")
            return unnamed
        if named is None:
            if len(self) >= self.capacity:
                self._evict(proven_too=True)
            return _Route(node, *address, "pex", "", now)
        return named

    def _pause_own(self, address: Address, now: float) -> None:
        """One list of peers for the whole fleet names us too."""
        if (route := self._find((None, *address))) is not None:
            route.dialled, route.reason = None, OURSELVES
            route.not_before = now + LONGEST_WAIT_S

    def _list(self, sighting: Sighting, now: float) -> None:
        address = (sighting.host, sighting.port)
        if any((route.host, route.port) == address for route in self._static.values()):
            return
        if len(self) >= self.capacity:
            self._evict(proven_too=True)
        self._add(_Route(sighting.id, *address, "static", sighting.name[:MAX_NAME], now, not_before=now))

    def _add(self, route: _Route) -> None:
        if route.via == "static":
            self._static[route.key] = route
        elif route.proven is not None:
            self._proven[route.key] = route
        else:
            self._unproven[route.key] = route
        if route.id is None:
            return
        routes = self._by_id.setdefault(route.id, {})
        routes[route.key] = route
        spare = [other for other in routes.values() if other.via != "static"]
        if len(spare) > MAX_ADDRESSES:
            self._drop(min(spare, key=lambda other: (other.proven is not None, other.proven or 0.0, other.heard)))

    def _drop(self, route: _Route) -> None:
        for pool in (self._static, self._proven, self._unproven):
            if pool.get(route.key) is route:
                del pool[route.key]
        if route.id is not None and (routes := self._by_id.get(route.id)) is not None:
            routes.pop(route.key, None)
            if not routes:
                del self._by_id[route.id]

    def _evict(self, *, proven_too: bool) -> bool:
        """Make room for one; hearsay never displaces a proven address."""
        if self._unproven:
            self._drop(next(iter(self._unproven.values())))
        elif self._proven and proven_too:
            self._drop(next(iter(self._proven.values())))
        else:
            return False
        return True

    # What decides the order

    def _busy(self, now: float) -> "_Busy":
        busy = _Busy()
        for route in self._routes():
            if route.is_dialling(now):
                busy.add(route)
        return busy

    def _ready(self, now: float, connected: Set[NodeId], busy: "_Busy") -> Iterator[_Route]:
        for route in self._routes():
            unwanted = route.id is not None and (route.id in connected or route.id in busy.nodes)
            if route.due <= now and not unwanted and not route.is_dialling(now):
                yield route

    @staticmethod
    def _rank(route: _Route, is_near: Callable[[str], bool] = bool) -> tuple[int, bool, float, bool, float, float]:
        # Hearsay in the order in which it came due: a flood of news never overtakes those who wait.
        listed = route.via == "static"
        kind = 0 if route.proven is not None else 1 if listed else 2
        return kind, not is_near(route.host), -(route.proven or 0.0), not listed, route.not_before // 1.0, route.lot

    def _may_try(self, route: _Route, busy: "_Busy", now: float) -> bool:
        if len(self._recent) == UNPROVEN_PER_S and now - self._recent[0] < 1.0:
            return False
        if route.via != "static" and busy.hosts.get(route.host, 0) >= UNPROVEN_PER_HOST:
            return False
        self._recent.append(now)
        return True


@dataclass(slots=True)
class Offer:
    """The addresses that may be dialled now, best first. A node is dialled at one address at a time."""

    _roster: Roster
    _now: float
    _is_near: Callable[[str], bool]
    _ready: list[_Route]
    _busy: "_Busy"

    def take(self, *, by_lot: bool = False, far: bool = False) -> Candidate | None:
        """The next to dial; it counts as under way until proven(), failed() or 30 s. `by_lot` draws from all alike,
        `far` takes those first that are not near. Addresses that never answered get at most 4 dials in any second.
        """
        first: Iterator[_Route] = iter(())
        if by_lot:
            first = iter(self._roster.rng.sample(self._ready, min(LOTS, len(self._ready))))
        elif far:
            first = (route for route in self._ready if not self._is_near(route.host))
        for route in chain(first, self._ready):
            # One at an address, one to a node: what was taken a moment ago counts.
            if (route.host, route.port) in self._busy.addresses or (
                route.id is not None and route.id in self._busy.nodes
            ):
                continue
            if route.proven is not None or self._roster._may_try(route, self._busy, self._now):
                route.dialled = self._now
                self._busy.add(route)
                return Candidate(route.id, route.host, route.port)
        return None


@dataclass(slots=True)
class _Busy:
    """Dials under way."""

    nodes: set[NodeId] = field(default_factory=set)
    addresses: set[Address] = field(default_factory=set)
    hosts: dict[str, int] = field(default_factory=dict)

    def add(self, route: _Route) -> None:
        if route.id is not None:
            self.nodes.add(route.id)
        self.addresses.add((route.host, route.port))
        self.hosts[route.host] = self.hosts.get(route.host, 0) + 1
