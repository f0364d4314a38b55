"""Driving one image's swarm: what happens on the wire goes in as events, the swarm's actions come out as messages."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, assert_never

import anyio
import anyio.streams.memory

from dfedge.core.errors import DfedgeError
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Clock, ImageId, NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.swarm import Swarm
from dfedge.core.wire import message as m
from dfedge.transfer.ask import Attempt
from dfedge.transfer.member import Member
from dfedge.transfer.ports import PieceStore
from dfedge.transfer.serve import Line, Uplink

GATHER: Final = 0.010  # seconds; pieces proven within it are shown in one message
GATHER_PER_PEER: Final = 0.008  # seconds; the more peers, the more messages a piece costs, and the more are under way
MOST_GATHER: Final = 0.2  # seconds
PROVERS: Final = 2  # pieces being hashed and written at once
MAX_RECHECKS: Final = 16  # complaints about our pieces that wait to be looked into
MAX_BAD: Final = 256  # bad pieces remembered for the report
log = logging.getLogger("dfedge.transfer")


class Court(Protocol):
    """Who judges a peer that sent a bad piece."""

    def spoiled(self, image: ImageId, piece: int, member: Member) -> None: ...


class Drive:
    """One image and the peers in its swarm. `run` it as long as we take part."""

    def __init__(
        self,
        image: ImageId,
        store: PieceStore,
        swarm: Swarm,
        uplink: Uplink,
        court: Court,
        clock: Clock,
    ) -> None:
        self.image = image
        self.store = store
        self.swarm = swarm
        self.failure: DfedgeError | None = None  # the disk's, if it ended the fetch
        self.finished = anyio.Event()  # every piece is proven, or failure is set
        self.ended = anyio.Event()  # set by whoever ran us, when nothing of us is left
        self.fetched: dict[NodeId, int] = {}  # bytes of proven pieces by peer
        self.bad: deque[tuple[NodeId, int]] = deque(maxlen=MAX_BAD)
        self.wasted = 0  # bytes of pieces that did not match or came twice
        self.snubs: dict[NodeId, str] = {}
        self._uplink = uplink
        self._court = court
        self._clock = clock
        self._members: dict[NodeId, Member] = {}
        self._lines: dict[int, Member] = {}
        self._served: set[NodeId] = set()
        self._attempts: dict[tuple[NodeId, int], Attempt] = {}
        self._shows: dict[NodeId, list[int]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._woken = anyio.Event()
        self._send_whole, self._whole = anyio.create_memory_object_stream[Attempt](math.inf)
        self._complaints: deque[int] = deque(maxlen=MAX_RECHECKS)
        if swarm.complete:
            self.finished.set()

    # Life.

    async def run(self, tick_s: float) -> None:
        """Prove and tick until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(PROVERS):
                    tasks.start_soon(self._prove)
                tasks.start_soon(self._look_into_complaints)
                while True:
                    if not self._members:
                        await self._woken.wait()
                    await anyio.sleep(tick_s)
                    self._excuse()
                    self.handle(e.Tick())
        finally:
            if self._flush is not None:
                self._flush.cancel()
            self._send_whole.close()
            self._whole.close()
            self._uplink.forget(self)

    def _wake(self) -> None:
        self._woken.set()
        self._woken = anyio.Event()

    @property
    def members(self) -> list[Member]:
        """The peers in the swarm."""
        return list(self._members.values())

    @property
    def held_bytes(self) -> int:
        """Bytes of the image that are proven here."""
        return self.store.held_bytes

    @property
    def is_wanted(self) -> bool:
        """Whether a peer here still misses something, or we do."""
        return not self.swarm.complete or any(not self.swarm.is_complete(peer) for peer in self._members)

    # Peers come and go.

    def join(self, member: Member, handle: int) -> None:
        """Say first that we take part: only a node that still misses something does."""
        shows = self.swarm.greeting(member.connection.id, self._clock())
        member.connection.send(m.Join(handle, self.image, self.swarm.complete, shows.encode()))

    def add(self, member: Member, holds: PieceMap, complete: bool, handle: int | None) -> None:
        """A peer joined and shows `holds`. `handle` is ours if we have not joined with it yet: we do so now."""
        peer = member.connection.id
        self._members[peer] = member
        if member.connection.line is not None:
            self._lines[id(member.connection.line)] = member
        actions = self.swarm.handle(e.Joined(peer, holds, complete), self._clock())
        if handle is not None:
            self.join(member, handle)
        for action in actions:
            self._carry_out(action)
        self._wake()

    def remove(self, member: Member) -> None:
        """A peer left, or its session ended."""
        peer = member.connection.id
        if self._members.pop(peer, None) is None:
            self.handle(e.Left(peer))
            return
        if member.connection.line is not None:
            self._lines.pop(id(member.connection.line), None)
            member.connection.line.forget(lambda served, _: served is self)
        self._served.discard(peer)
        self._shows.pop(peer, None)
        self.snubs.pop(peer, None)
        for key in [key for key in self._attempts if key[0] == peer]:
            self._drop(*key)
        self.handle(e.Left(peer))

    # Events in, actions out.

    def handle(self, event: e.Event) -> None:
        """Tell the swarm what happened, and do what it decides."""
        for action in self.swarm.handle(event, self._clock()):
            self._carry_out(action)

    def _carry_out(self, action: e.Action) -> None:
        match action:
            case e.Ask(peer, piece):
                self._ask(peer, piece)
            case e.Drop(peer, piece):
                self._drop(peer, piece)
            case e.Show(peer, pieces):
                self._show(peer, pieces)
            case e.Serve(peer):
                self._served.add(peer)
                self._say(peer, m.Unchoke)
            case e.Refuse(peer):
                self._served.discard(peer)
                self._refuse(peer)
            case e.Snub(peer, reason):
                self.snubs[peer] = reason
                member = self._members.get(peer)
                log.info("snubbed peer=%s reason=%s", member.connection.name if member else peer[:12], reason)
            case e.Finished():
                self.finished.set()
            case _:
                assert_never(action)

    def _say(self, peer: NodeId, kind: Callable[[int], m.Message]) -> None:
        member = self._members.get(peer)
        if member is not None and member.ours is not None:
            member.connection.send(kind(member.ours))

    def _refuse(self, peer: NodeId) -> None:
        self._say(peer, m.Choke)
        member = self._members.get(peer)
        if member is not None and member.connection.line is not None:
            member.connection.line.forget(lambda served, _: served is self)

    def _ask(self, peer: NodeId, piece: int) -> None:
        member = self._members.get(peer)
        if member is None or member.ours is None or member.connection.is_closed:
            return
        if (peer, piece) not in self._attempts:
            length = self.store.manifest.lengths[piece]
            self._attempts[peer, piece] = member.connection.asker.ask(self, member.ours, piece, length)

    def choked(self, peer: NodeId) -> None:
        """A peer answers no more requests; those that it never saw it cannot reject."""
        for key, attempt in list(self._attempts.items()):
            if key[0] == peer and not attempt.asked:
                del self._attempts[key]
                attempt.asker.drop(attempt)
        self.handle(e.Choked(peer))

    def _excuse(self) -> None:
        """Who has not been asked yet, as we hold back ourselves, is not late."""
        for (peer, piece), attempt in list(self._attempts.items()):
            if attempt.asked < attempt.length and not attempt.asker.outstanding:
                self.handle(e.Received(peer, piece, 0))

    def _drop(self, peer: NodeId, piece: int) -> None:
        attempt = self._attempts.pop((peer, piece), None)
        if attempt is None:
            return
        attempt.asker.drop(attempt)
        member = self._members.get(peer)
        if member is not None and member.ours is not None:
            member.connection.send(m.Cancel(member.ours, piece))

    def _show(self, peer: NodeId, pieces: "tuple[int, ...] | list[int]") -> None:
        if not pieces:
            return
        self._shows.setdefault(peer, []).extend(pieces)
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(self._gather_s(), self._flush_shows)

    def _gather_s(self) -> float:
        """How long to gather: briefly at the end, when somebody may wait for just this piece."""
        peers, missing = len(self._members), self.store.holds.count - len(self.store.holds)
        return max(GATHER, min(MOST_GATHER, GATHER_PER_PEER * peers)) if missing > 2 * peers else GATHER

    def _flush_shows(self) -> None:
        self._flush = None
        shows, self._shows = self._shows, {}
        for peer, pieces in shows.items():
            member = self._members.get(peer)
            if member is None or member.ours is None:
                continue
            for start in range(0, len(pieces), m.MAX_HAVE):
                part = tuple(pieces[start : start + m.MAX_HAVE])
                member.connection.send(m.Have(member.ours, self.swarm.complete, part))

    # What comes back (Taker).

    def on_part(self, attempt: Attempt, nbytes: int) -> None:
        peer = attempt.asker.peer
        self.snubs.pop(peer, None)
        self.handle(e.Received(peer, attempt.piece, nbytes))

    def on_whole(self, attempt: Attempt) -> None:
        self._attempts.pop((attempt.asker.peer, attempt.piece), None)
        self._send_whole.send_nowait(attempt)

    def on_reject(self, attempt: Attempt) -> None:
        self._attempts.pop((attempt.asker.peer, attempt.piece), None)
        self.handle(e.Rejected(attempt.asker.peer, attempt.piece))

    async def _prove(self) -> None:
        async for attempt in self._whole:
            peer, piece = attempt.asker.peer, attempt.piece
            try:
                outcome = await self.store.put(piece, attempt.blocks)
            except DfedgeError as error:
                self.failure = error
                self.finished.set()
                continue
            length = sum(len(block) for block in attempt.blocks)
            attempt.blocks.clear()
            self._judge(outcome, peer, piece, length)

    def _judge(self, outcome: Outcome, peer: NodeId, piece: int, length: int) -> None:
        if outcome is Outcome.MISMATCH:
            self.wasted += length
            self.bad.append((peer, piece))
            self.handle(e.Spoiled(piece, peer))
            member = self._members.get(peer)
            if member is not None:
                if member.ours is not None:
                    member.connection.send(m.Bad(member.ours, piece))
                self._court.spoiled(self.image, piece, member)
            return
        if outcome is Outcome.DUPLICATE:
            self.wasted += length
        else:
            self.fetched[peer] = self.fetched.get(peer, 0) + length
        for twin in self.store.twins(piece):
            self.handle(e.Proven(twin, peer))

    # What we serve (Served).

    def may_ask(self, line: Line, piece: int) -> bool:
        member = self._lines.get(id(line))
        return member is not None and member.connection.id in self._served and piece in self.store.holds

    def on_served(self, line: Line, nbytes: int) -> None:
        """Nothing to do: the line counts what it sent."""

    def on_rotten(self, piece: int) -> None:
        log.error("rotten piece image=%s piece=%d", self.image.hex()[:12], piece)
        self._uplink.forget_piece(self, piece)
        self.handle(e.Lost(piece))
        for member in self.members:
            if member.ours is not None:
                member.connection.send(m.Lost(member.ours, (piece,)))

    def complain(self, piece: int) -> None:
        """A peer says that a piece of ours does not match; we look at our own disk."""
        if piece in self.store.holds and piece not in self._complaints:
            self._complaints.append(piece)
            self._wake()

    async def _look_into_complaints(self) -> None:
        while True:
            while self._complaints:
                piece = self._complaints.popleft()
                self._uplink.forget_piece(self, piece)
                try:
                    good = await self.store.recheck(piece)
                except DfedgeError as error:
                    log.error("recheck failed piece=%d error=%s", piece, error)
                    good = False
                if not good:
                    self.on_rotten(piece)
            await self._woken.wait()
