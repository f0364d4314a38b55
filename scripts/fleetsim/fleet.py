"""Nodes and what they say to each other; the scenario of a test is a handful of calls on a Fleet."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, assert_never

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm
from fleetsim.link import Clock, Job, Port


class Kind(Enum):
    """How a node behaves."""

    HONEST = "honest"
    LIAR = "liar"  # says it has everything, sends nothing
    FREE_RIDER = "free-rider"  # takes, never serves


@dataclass(frozen=True, slots=True)
class Link:
    """A node's link: bytes/s each way, seconds one way to the switch."""

    up: float
    down: float
    latency: float = 0.00025

    @classmethod
    def mbit(cls, rate: float) -> "Link":
        return cls(rate * 1e6 / 8, rate * 1e6 / 8)


class Node:
    """One node: its swarm and its port."""

    def __init__(self, fleet: "Fleet", name: str, link: Link, holds: PieceMap, kind: Kind, seed: int) -> None:
        self.name, self.kind, self.fleet = NodeId(name), kind, fleet
        self.swarm = Swarm(holds.count, lambda _: fleet.piece_bytes, holds, Random(seed), fleet.policy)
        self.port = Port(fleet.clock, link.up, link.down, link.latency, self._arrived)
        self.started = fleet.clock.now
        self.done: float | None = None
        self.here = True
        self.was_seed = holds.complete
        self.neighbours: dict[NodeId, Node] = {}
        self.received = 0  # bytes
        self.useful = 0  # bytes of pieces when they were proven first
        self.messages = 0  # control messages sent
        self._shows: dict[NodeId, list[int]] = {}

    def handle(self, event: e.Event) -> None:
        if not self.here or self.kind is Kind.LIAR:
            return
        began = time.perf_counter()
        actions = self.swarm.handle(event, self.fleet.clock.now)
        self.fleet.thought += time.perf_counter() - began
        self.fleet.decisions += 1
        for action in actions:
            self.carry_out(action)

    def carry_out(self, action: e.Action) -> None:
        match action:
            case e.Ask(peer, piece):
                self.say(peer, lambda other: other.asked(self, piece))
            case e.Drop(peer, piece):
                self.say(peer, lambda other: other.port.drop(self.port, piece))
            case e.Show(peer, pieces):
                if peer not in self._shows:
                    self.fleet.clock.after(self.fleet.gather, self._flush, peer)
                self._shows.setdefault(peer, []).extend(pieces)
            case e.Serve(peer):
                if self.kind is not Kind.FREE_RIDER:
                    self.say(peer, lambda other: other.handle(e.Unchoked(self.name)))
            case e.Refuse(peer):
                other = self.neighbours.get(peer)
                if other is not None:
                    self.port.close(other.port)
                    self.say(peer, lambda other: other.handle(e.Choked(self.name)))
            case e.Snub():
                self.fleet.snubs += 1
            case e.Finished():
                self.done = self.fleet.clock.now
            case _:
                assert_never(action)

    def say(self, peer: NodeId, call: Callable[["Node"], None]) -> None:
        other = self.neighbours.get(peer)
        if other is None:
            return
        self.messages += 1

        def deliver(to: Node) -> None:
            if self.here and to.here and to.neighbours.get(self.name) is self:
                call(to)

        self.fleet.clock.after(self.port.latency + other.port.latency, deliver, other)

    def asked(self, by: "Node", piece: int) -> None:
        if self.kind is Kind.LIAR:
            return
        if piece in self.swarm.holds and by.name in self.swarm.peers and self.swarm.peers[by.name].served:
            self.port.send(by.port, piece, self.fleet.piece_bytes)
        else:
            self.say(by.name, lambda other: other.handle(e.Rejected(self.name, piece)))

    def _flush(self, peer: NodeId) -> None:
        pieces = tuple(self._shows.pop(peer, ()))
        complete = self.swarm.complete
        self.say(peer, lambda other: other.handle(e.Shown(self.name, pieces, complete)))

    def _arrived(self, port: Port, job: Job, size: int) -> None:
        sender = self.fleet.by_port[port]
        self.received += size
        last = job.landed == job.size
        if sender.name not in self.neighbours:
            return
        owed = sender.name in self.swarm.peers and job.piece in self.swarm.peers[sender.name].asked
        self.handle(e.Received(sender.name, job.piece, size))
        if last and owed:
            if job.piece not in self.swarm.holds:
                self.useful += job.size
            self.handle(e.Proven(job.piece, sender.name))

    def tick(self) -> None:
        if self.here:
            self.handle(e.Tick())
            self.fleet.clock.after(self.fleet.policy.tick, self.tick)


class Fleet:
    """A swarm under a simulated clock. One seed replays it to the last event."""

    def __init__(
        self, pieces: int, piece_bytes: int = 128 * 1024, seed: int = 0, policy: Policy | None = None,
        gather: float = 0.002,
    ) -> None:  # fmt: skip
        self.pieces, self.piece_bytes, self.gather = pieces, piece_bytes, gather
        self.policy = policy or Policy()
        self.clock = Clock()
        self.rng = Random(seed)
        self.nodes: dict[NodeId, Node] = {}
        self.by_port: dict[Port, Node] = {}
        self.snubs = 0
        self.decisions = 0
        self.thought = 0.0  # real seconds spent in Swarm.handle

    def add(
        self,
        name: str,
        link: Link,
        holds: PieceMap | None = None,
        near: Iterable[str] | None = None,
        kind: Kind = Kind.HONEST,
    ) -> Node:
        """A node comes, now, and connects to `near` (all, if not given)."""
        node = Node(self, name, link, holds or PieceMap(self.pieces), kind, self.rng.getrandbits(32))
        near = list(self.nodes) if near is None else list(near)
        self.nodes[node.name] = node
        self.by_port[node.port] = node
        self.clock.after(self.rng.random() * self.policy.tick, node.tick)
        for other in near:
            self.connect(node, self.nodes[NodeId(other)])
        return node

    def connect(self, one: Node, two: Node) -> None:
        """Two nodes meet; who misses something says first that it takes part."""
        if not (one.here and two.here) or (one.swarm.complete and two.swarm.complete):
            return
        one.neighbours[two.name], two.neighbours[one.name] = two, one
        first, second = (one, two) if not one.swarm.complete else (two, one)
        shows = self._map_of(first, second)
        complete = first.swarm.complete
        first.say(second.name, lambda _: self._welcome(second, first, shows, complete))

    def _map_of(self, node: Node, to: Node) -> PieceMap:
        if node.kind is Kind.LIAR:
            return PieceMap.full(self.pieces)
        return node.swarm.greeting(to.name, self.clock.now)

    def _welcome(self, node: Node, guest: Node, shows: PieceMap, complete: bool) -> None:
        actions = []
        if node.kind is not Kind.LIAR:
            actions = node.swarm.handle(e.Joined(guest.name, shows, complete), self.clock.now)
        ours, whole = self._map_of(node, guest), node.swarm.complete or node.kind is Kind.LIAR
        node.say(guest.name, lambda _: guest.handle(e.Joined(node.name, ours, whole)))
        if node.kind is Kind.LIAR:
            node.say(guest.name, lambda _: guest.handle(e.Unchoked(node.name)))
        for action in actions:
            node.carry_out(action)

    def leave(self, node: Node) -> None:
        """A node goes, now and without a word."""
        node.here = False
        node.port.gone = True
        for other in list(node.neighbours.values()):
            self.part(node, other)

    def part(self, one: Node, two: Node) -> None:
        """Two nodes lose sight of each other."""
        for here, there in ((one, two), (two, one)):
            if here.neighbours.pop(there.name, None) is not None:
                here.port.close(there.port)
                here.handle(e.Left(there.name))

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Go on until something holds, for `limit` simulated seconds at most; whether it came to hold."""
        while self.clock.now <= limit:
            if until():
                return True
            if not self.clock.step():
                break
        return until()

    @property
    def takers(self) -> list[Node]:
        """The honest nodes that are here and did not begin as seeds."""
        return [n for n in self.nodes.values() if n.here and n.kind is not Kind.LIAR and not n.was_seed]

    def all_done(self) -> bool:
        """Whether every taker holds everything."""
        return all(node.done is not None for node in self.takers)

    def makespan(self) -> float:
        """Simulated seconds from the first node's start to the last one's end."""
        return max(node.done if node.done is not None else float("inf") for node in self.takers)

    @property
    def image_bytes(self) -> int:
        return self.pieces * self.piece_bytes

    def seed_copies(self) -> float:
        """Images that the seeds have sent in all."""
        return sum(node.port.sent for node in self.nodes.values() if node.was_seed) / self.image_bytes

    def waste(self) -> float:
        """The share of the received bytes that were of no use."""
        received = sum(node.received for node in self.nodes.values())
        return 1 - sum(node.useful for node in self.nodes.values()) / received if received else 0.0


def lan(nodes: int, pieces: int, rate: float = 100, piece_bytes: int = 128 * 1024, seed: int = 0, **more: Any) -> Fleet:
    """A seed `s` and nodes `n0`, `n1`, … on links of one rate in Mbit/s, in a full mesh."""
    fleet = Fleet(pieces, piece_bytes, seed, **more)
    fleet.add("s", Link.mbit(rate), PieceMap.full(pieces))
    for number in range(nodes):
        fleet.add(f"n{number}", Link.mbit(rate))
    return fleet


def sparse(
    nodes: int, pieces: int, neighbours: int, rate: float = 100, piece_bytes: int = 128 * 1024, seed: int = 0
) -> Fleet:
    """The same, but each sees about `neighbours` of the others, at random: so many random rings, halved."""
    fleet = Fleet(pieces, piece_bytes, seed)
    rng = Random(seed)
    names = ["s", *(f"n{number}" for number in range(nodes))]
    sees: dict[str, set[str]] = {name: set() for name in names}
    for _ in range(max(1, neighbours // 2)):
        ring = rng.sample(names, len(names))
        for one, two in zip(ring, ring[1:] + ring[:1], strict=True):
            sees[one].add(two)
            sees[two].add(one)
    for place, name in enumerate(names):
        held = PieceMap.full(pieces) if name == "s" else None
        fleet.add(name, Link.mbit(rate), held, near=[other for other in names[:place] if other in sees[name]])
    return fleet
