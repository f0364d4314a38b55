"""Ten thousand nodes in one process: every decision is the node's own Swarm's, only the wire is coarse.

A piece is the unit of transfer. An uplink sends whole pieces, in the order asked; a downlink takes them in turn. What
is asked arrives at once, what is shown when the gathering time is over. Not modelled: blocks of several pieces that
share an uplink, TCP, loss, CPU, proof and disk. So it shows how decisions scale, and predicts no seconds.
"""

import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm

PACKET: Final = 38  # bytes around a message in an SSH packet: length, padding, channel, authentication
HAVE: Final = 8  # bytes of a Have beside its pieces
NUMBER: Final = 3  # bytes of a piece's number in a Have
ASK: Final = 24  # bytes of a request's frame
SAY: Final = 8  # bytes of a message that only says that something is so
GATHER: Final = 0.020  # seconds for which news are gathered
GATHER_AT_LEISURE: Final = 0.384  # the same as a node does with 24 peers, but for all of them at once
FIRST: Final = 6  # pieces held up to which news are urgent
LAST: Final = 12  # the same for pieces missing
SAMPLE: Final = 64  # one decision in so many is timed: to read the clock costs as much as to decide
BEGUN: Final = 0.2  # seconds; what takes longer to come shows its first byte before its last
MBIT: Final = 1e6 / 8  # bytes/s


class Node:
    """One node: its swarm, its two queues, and what it counted. Rates in bytes/s, times in simulated seconds."""

    __slots__ = (
        "control", "crowd", "done", "down_free", "flushing", "here", "id", "liar", "near", "queue", "rate",
        "received", "sending", "sent", "shows", "started", "swarm", "useful",
    )  # fmt: skip

    def __init__(self, crowd: "Crowd", number: int, rate: float, holds: PieceMap, seed: int, liar: bool) -> None:
        self.crowd, self.id, self.rate, self.liar = crowd, NodeId(f"n{number}"), rate, liar
        self.swarm = Swarm(holds.count, crowd.size_of, holds, Random(seed), crowd.policy)
        self.near: dict[NodeId, Node] = {}
        self.queue: deque[tuple[Node, int]] = deque()  # asked of us: by whom, which piece
        self.shows: dict[NodeId, list[int]] = {}
        self.here, self.sending, self.flushing = True, False, False
        self.down_free, self.started = 0.0, crowd.now
        self.done: float | None = None
        self.sent = self.received = self.useful = 0  # pieces
        self.control = 0  # bytes

    def handle(self, event: e.Event) -> None:
        """Tell the swarm, and carry out what it decides."""
        if self.liar or not self.here:
            return
        crowd = self.crowd
        crowd.events += 1
        if crowd.events % SAMPLE:
            actions = self.swarm.decide(event, crowd.now)
        else:
            began = time.process_time()
            actions = self.swarm.decide(event, crowd.now)
            crowd.thought += time.process_time() - began
        if actions:
            self.carry_out(actions)

    def carry_out(self, actions: list[e.Action]) -> None:
        crowd = self.crowd
        for action in actions:
            kind = type(action)
            if kind is e.Show:
                self._show(action)  # type: ignore[arg-type]  # its class was compared: a match costs more
            elif isinstance(action, e.Ask):
                self.control += PACKET + ASK
                crowd.asks += 1
                if (other := self.near.get(action.peer)) is not None:
                    other.asked(self, action.piece)
            elif isinstance(action, e.Drop):
                self.control += PACKET + ASK
                other = self.near.get(action.peer)
                if other is not None and (self, action.piece) in other.queue:
                    other.queue.remove((self, action.piece))
            elif isinstance(action, e.Serve | e.Refuse):
                self.control += PACKET + SAY
                said = e.Unchoked(self.id) if isinstance(action, e.Serve) else e.Choked(self.id)
                if (other := self.near.get(action.peer)) is not None:
                    if isinstance(action, e.Refuse):
                        self.queue = deque(entry for entry in self.queue if entry[0] is not other)
                    crowd.after(crowd.latency, other.handle, said)
            elif kind is e.Finished:
                self.done = crowd.now
                crowd.unfinished -= 1

    def _show(self, action: e.Show) -> None:
        shows = self.shows
        if action.peer in shows:
            shows[action.peer].extend(action.pieces)
        else:
            shows[action.peer] = [*action.pieces]
            if not self.flushing:
                self.flushing = True
                self.crowd.after(self._gather_s(), self.flush)

    def flush(self) -> None:
        """Say what was gathered."""
        shows, self.shows, self.flushing = self.shows, {}, False
        if not self.here:
            return
        complete, near, us = self.swarm.complete, self.near, self.id
        told = self.swarm.news()
        told.extend((peer, tuple(pieces)) for peer, pieces in shows.items())
        for peer, pieces in told:
            other = near.get(peer)
            if other is not None:
                self.control += PACKET + HAVE + NUMBER * len(pieces)
                other.handle(e.Shown(us, pieces, complete))

    def _gather_s(self) -> float:
        """Seconds: short while there is little to go round, and at the end."""
        held = len(self.swarm.holds)
        return GATHER if held <= FIRST or self.crowd.pieces - held <= LAST else GATHER_AT_LEISURE

    def asked(self, by: "Node", piece: int) -> None:
        """A neighbour wants a piece."""
        if self.liar:
            return
        peer = self.swarm.peers.get(by.id)
        if peer is None or not peer.served or piece not in self.swarm.holds:
            self.control += PACKET + ASK
            self.crowd.after(self.crowd.latency, by.handle, e.Rejected(self.id, piece))
            return
        self.queue.append((by, piece))
        if not self.sending:
            self.send_next()

    def send_next(self) -> None:
        """Put the next piece on the wire."""
        crowd = self.crowd
        while self.queue:
            to, piece = self.queue.popleft()
            if to.here and to.id in self.near:
                break
        else:
            self.sending = False
            return
        self.sending = True
        gone = crowd.now + crowd.piece_bytes / self.rate
        landed = to.down_free = max(gone + crowd.latency, to.down_free + crowd.piece_bytes / to.rate)
        self.sent += 1
        heappush(crowd.heap, (gone, crowd.next(), self.send_next, ()))
        begun = landed - crowd.now > BEGUN
        if begun:  # else a swarm takes a slow piece for one that has not begun
            crowd.after(crowd.latency, to.handle, e.Received(self.id, piece, 1))
        heappush(crowd.heap, (landed, crowd.next(), to.landed, (self, piece, begun)))

    def landed(self, sender: "Node", piece: int, begun: bool) -> None:
        """A whole piece came."""
        self.received += 1
        if not self.here or sender.id not in self.near:
            return
        peer = self.swarm.peers.get(sender.id)
        owed = peer is not None and piece in peer.asked
        self.handle(e.Received(sender.id, piece, self.crowd.piece_bytes - begun))
        if owed and piece not in self.swarm.holds:
            self.useful += 1
            self.handle(e.Proven(piece, sender.id))
            if not self.flushing:
                self.flushing = True
                self.crowd.after(self._gather_s(), self.flush)

    def tick(self) -> None:
        if self.here:
            self.handle(e.Tick())
            self.crowd.after(self.crowd.policy.tick, self.tick)


class Crowd:
    """Nodes in a random graph under a simulated clock. One seed replays it to the last event."""

    def __init__(
        self, pieces: int, neighbours: int = 24, piece_bytes: int = 128 * 1024, seed: int = 0,
        policy: Policy | None = None, latency: float = 0.0005,
    ) -> None:  # fmt: skip
        self.pieces, self.neighbours, self.piece_bytes = pieces, neighbours, piece_bytes
        self.latency, self.policy = latency, policy or Policy()
        self.rng = Random(seed)
        self.nodes: list[Node] = []
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.made = 0
        self.unfinished = 0
        self.events = self.asks = 0
        self.thought = 0.0  # real seconds in Swarm.handle

    def size_of(self, _: int) -> int:
        return self.piece_bytes

    def next(self) -> int:
        """Events of one time happen in the order in which they were made."""
        self.made += 1
        return self.made

    def after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Call it `delay` seconds from now."""
        heappush(self.heap, (self.now + delay, self.next(), call, args))

    def add(self, mbit: float, whole: bool = False, liar: bool = False) -> Node:
        """A node comes, and knows nobody yet."""
        holds = PieceMap.full(self.pieces) if whole else PieceMap(self.pieces)
        node = Node(self, len(self.nodes), mbit * MBIT, holds, self.rng.getrandbits(32), liar)
        self.nodes.append(node)
        if not whole and not liar:
            self.unfinished += 1
        self.after(self.rng.random() * self.policy.tick, node.tick)
        return node

    def mix(self, nodes: list[Node]) -> None:
        """Connect these as rings in random order, so that each has `neighbours` of them at most."""
        for _ in range(max(1, self.neighbours // 2)):
            ring = self.rng.sample(nodes, len(nodes))
            for one, two in zip(ring, ring[1:] + ring[:1], strict=True):
                self.connect(one, two)

    def meet(self, node: Node, others: list[Node]) -> None:
        """A latecomer: it connects to nodes that have room for one more."""
        for other in self.rng.sample(others, min(len(others), 4 * self.neighbours)):
            if len(node.near) >= self.neighbours:
                return
            if other.here and len(other.near) < self.neighbours:
                self.connect(node, other)

    def connect(self, one: Node, two: Node) -> None:
        """Two nodes meet, if both are here and one of them misses something."""
        first, second = (two, one) if one.swarm.complete else (one, two)
        if first is second or first.id in second.near or not (one.here and two.here) or first.swarm.complete:
            return
        one.near[two.id], two.near[one.id] = two, one
        shows = self._map_of(first, second)
        for node, guest, map_ in ((second, first, shows), (first, second, None)):
            node.control += PACKET + SAY + 32 + self.pieces // 8
            seen = self._map_of(guest, node) if map_ is None else map_
            if node.liar:
                self.after(self.latency, guest.handle, e.Unchoked(node.id))
            else:
                node.handle(e.Joined(guest.id, seen, guest.liar or guest.swarm.complete))

    def _map_of(self, node: Node, to: Node) -> PieceMap:
        return PieceMap.full(self.pieces) if node.liar else node.swarm.greeting(to.id, self.now)

    def part(self, one: Node, two: Node) -> None:
        """Two nodes lose sight of each other; what is on the wire is lost."""
        if one.near.pop(two.id, None) is not None:
            del two.near[one.id]
            one.handle(e.Left(two.id))
            two.handle(e.Left(one.id))

    def leave(self, node: Node) -> None:
        """A node goes without a word."""
        if node.here and node.done is None and not node.liar and not node.swarm.complete:
            self.unfinished -= 1
        node.here = False
        for other in list(node.near.values()):
            self.part(node, other)

    def run(self, limit: float) -> bool:
        """Go on until all who are here hold everything, or for so many simulated seconds; whether they do."""
        heap = self.heap
        while heap and self.unfinished and self.now <= limit:
            self.now, _, call, args = heappop(heap)
            call(*args)
        return not self.unfinished

    def until(self, when: float) -> None:
        """Go on to a point in time."""
        while self.heap and self.heap[0][0] <= when:
            self.now, _, call, args = heappop(self.heap)
            call(*args)
        self.now = when

    @property
    def takers(self) -> list[Node]:
        """Those that fetch, and are here."""
        return [node for node in self.nodes[1:] if node.here and not node.liar]

    def waste(self) -> float:
        """The share of the received pieces that were of no use."""
        received = sum(node.received for node in self.takers)
        return 1 - sum(node.useful for node in self.takers) / received if received else 0.0

    def control(self) -> float:
        """Control bytes of a node as a share of the payload it received."""
        received = sum(node.received for node in self.takers) * self.piece_bytes
        return sum(node.control for node in self.takers) / received if received else 0.0

    def fairness(self) -> float:
        """Jain's index of what the takers sent: 1 if all sent alike, 1/n if one sent all."""
        sent = [node.sent for node in self.takers]
        squares = sum(each * each for each in sent)
        return sum(sent) ** 2 / (len(sent) * squares) if squares else 0.0
