"""Driving one image's swarm: what happens on the wire goes in as events, the swarm's actions come out as messages.

A little longer than other modules: what is asked for, what comes back and what is served share one state.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
from dfedge.transfer.credit import Credit
from dfedge.transfer.member import Member
from dfedge.transfer.news import AT_ONCE, News
from dfedge.transfer.ports import PieceStore
from dfedge.transfer.serve import Line, Uplink

FOR_SEED: Final = 0.008  # seconds for each peer that news gather; the more peers, the more messages a piece costs
AT_LEISURE: Final = 0.024  # seconds for each peer, where somebody else has shown the piece already
LONGEST: Final = 0.4  # seconds
FEW: Final = 6  # pieces held: until then a swarm's uplinks wait for news, later for one another
PROVERS: Final = 2  # pieces being hashed and written at once
MAX_RECHECKS: Final = 16  # complaints about our pieces that wait to be looked into
MAX_BAD: Final = 256  # bad pieces remembered for the report
log = logging.getLogger("dfedge.transfer")


class Court(Protocol):
    """Who judges a peer by the pieces that it sent."""

    def spoiled(self, image: ImageId, piece: int, member: Member) -> None: ...

    def proven(self, peer: NodeId) -> None: ...


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
        self.priority = 0  # of all that is fetched: the highest goes first
        self._uplink = uplink
        self._court = court
        self._clock = clock
        self._members: dict[NodeId, Member] = {}
        self._lines: dict[int, Member] = {}
        self._served: set[NodeId] = set()
        self._attempts: dict[tuple[NodeId, int], Attempt] = {}
        self._taking = False  # whether what we ask for can be put into the store
        self._parked: dict[tuple[NodeId, int], None] = {}  # asks that wait until it can or for credit, in order
        self._credit = Credit()
        self._unput: set[NodeId] = set()  # peers whose pieces came and could not be put into the store
        self._news = News(self._tell, clock)
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
            self._news.close()
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
        bad = self._credit.bad_piece(peer)
        if bad is not None and bad in holds:  # the session may have ended before the peer heard of it
            self._say(peer, partial(m.Bad, piece=bad))
        for action in actions:
            self._carry_out(action)
        self._wake()

    def withdrawn(self, peer: NodeId, pieces: tuple[int, ...]) -> None:
        """A peer has lost pieces."""
        self._credit.owned_up(peer, pieces)
        self.handle(e.Withdrawn(peer, pieces))

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
        self._credit.forget(peer)
        self._news.forget(peer)
        self.snubs.pop(peer, None)
        for key in [key for key in (*self._attempts, *self._parked) if key[0] == peer]:
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
        if not self._taking or not self._credit.take(peer, piece):
            self._parked[peer, piece] = None
            return
        key = (peer, piece)
        member = self._members.get(peer)
        if piece in self.store.holds:  # it was being written when an earlier fetch ended, and the swarm does not know
            asyncio.get_running_loop().call_soon(self.handle, e.Proven(piece, peer))
            self._settled(peer, piece)
        elif member is None or member.ours is None or member.connection.is_closed:
            self._settled(peer, piece)
        elif key not in self._attempts:
            length = self.store.manifest.lengths[piece]
            self._attempts[key] = member.connection.asker.ask(self, member.ours, piece, length)

    def choked(self, peer: NodeId) -> None:
        """A peer answers no more requests; those that it never saw it cannot reject."""
        for key, attempt in list(self._attempts.items()):
            if key[0] == peer and not attempt.asked:
                del self._attempts[key]
                attempt.asker.drop(attempt)
                asyncio.get_running_loop().call_soon(self._settled, *key)
        self.handle(e.Choked(peer))

    @property
    def holds_back(self) -> bool:
        """Whether pieces wait to be asked for since we may not, or since another image goes first."""
        return any(not attempt.asked for attempt in self._attempts.values())

    def _excuse(self) -> None:
        """Who has not been asked yet, as we hold back ourselves, is not late."""
        for (peer, piece), attempt in list(self._attempts.items()):
            asker = attempt.asker
            if attempt.asked < attempt.length and (not asker.outstanding or asker.gives_way(self.priority)):
                self.handle(e.Received(peer, piece, 0))

    def _settled(self, peer: NodeId, piece: int) -> None:
        """A peer owes us a piece no more, so it may be asked for another."""
        self._credit.settle(peer, piece)
        if self._parked and self._credit.has(peer):
            self._unpark([key for key in self._parked if key[0] == peer])

    def _unpark(self, keys: Sequence[tuple[NodeId, int]]) -> None:
        for key in keys:
            del self._parked[key]
        for peer, piece in keys:
            self._ask(peer, piece)

    def _drop(self, peer: NodeId, piece: int) -> None:
        self._parked.pop((peer, piece), None)
        if (peer, piece) in self._attempts:
            asyncio.get_running_loop().call_soon(self._settled, peer, piece)
        attempt = self._attempts.pop((peer, piece), None)
        if attempt is None:
            return
        attempt.asker.drop(attempt)
        self._say(peer, partial(m.Cancel, piece=piece))

    def _show(self, peer: NodeId, pieces: Sequence[int]) -> None:
        if pieces:
            self._news.add(peer, pieces, self._gather_s(peer))

    def _gather_s(self, peer: NodeId) -> float:
        """How long news gather: briefly at the start and at the end, when somebody may wait for just this.

        A seed counts by what it is shown how well each of us passes on, so it hears sooner than the others.
        """
        peers, held = len(self._members), len(self.store.holds)
        if held <= FEW or self.store.holds.count - held <= 2 * peers:
            return AT_ONCE
        each = FOR_SEED if self.swarm.is_complete(peer) else AT_LEISURE
        return max(AT_ONCE, min(LONGEST, each * peers))

    def _tell(self, peer: NodeId, pieces: Sequence[int]) -> None:
        for start in range(0, len(pieces), m.MAX_HAVE):
            part = tuple(pieces[start : start + m.MAX_HAVE])
            self._say(peer, partial(m.Have, complete=self.swarm.complete, pieces=part))

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
        self._settled(attempt.asker.peer, attempt.piece)

    async def _prove(self) -> None:
        async for attempt in self._whole:
            peer, piece = attempt.asker.peer, attempt.piece
            try:
                outcome = await self.store.put(piece, attempt.blocks)
            except DfedgeError as error:
                self.failure = error
                self.finished.set()
                self._unput.add(peer)
                self._settled(peer, piece)
                continue
            length = sum(len(block) for block in attempt.blocks)
            attempt.blocks.clear()
            self._judge(outcome, peer, piece, length)
            self._settled(peer, piece)

    def _judge(self, outcome: Outcome, peer: NodeId, piece: int, length: int) -> None:
        if outcome is Outcome.MISMATCH:
            is_new = self._credit.spoiled(peer, piece)
            self.wasted += length
            self.bad.append((peer, piece))
            self.handle(e.Spoiled(piece, peer))
            self._say(peer, partial(m.Bad, piece=piece))
            member = self._members.get(peer)
            if member is not None and is_new:
                self._court.spoiled(self.image, piece, member)
            return
        self._credit.proven(peer)
        if outcome is Outcome.DUPLICATE:
            self.wasted += length
        else:
            self.fetched[peer] = self.fetched.get(peer, 0) + length
            self._court.proven(peer)
        is_first_hand = self.swarm.is_complete(peer)  # then nobody else can pass it on yet
        for twin in self.store.twins(piece):
            for action in self.swarm.decide(e.Proven(twin, peer), self._clock()):
                self._carry_out(action)
        for other, news in self.swarm.news():
            self._news.add(other, news, AT_ONCE if is_first_hand else self._gather_s(other))

    # What we serve (Served).

    def may_ask(self, line: Line, piece: int) -> bool:
        member = self._lines.get(id(line))
        return member is not None and member.connection.id in self._served and piece in self.store.holds

    def on_rotten(self, piece: int) -> None:
        """A piece could not be proven or read; where it is still held, we look at our own disk."""
        if piece in self.store.holds:
            self.complain(piece)
        else:
            self.lose((piece,))

    def lose(self, pieces: Iterable[int]) -> None:
        """Pieces of ours have left the map: nobody is sent them any more, and everybody is told."""
        gone = [piece for piece in pieces if piece in self.swarm.holds]
        if not gone:
            return
        self._uplink.lose(self, frozenset(gone))
        if self.finished.is_set():
            self.finished = anyio.Event()
        for piece in gone:
            self.handle(e.Lost(piece))
        for peer in tuple(self._members):
            for start in range(0, len(gone), m.MAX_HAVE):
                self._say(peer, partial(m.Lost, pieces=tuple(gone[start : start + m.MAX_HAVE])))

    def take(self, store: PieceStore) -> None:
        """Go on with a door to the same image that takes pieces."""
        if store is not self.store:
            self.store, self.failure = store, None
        self._taking = True
        self.catch_up()
        self._unpark(list(self._parked))
        unput, self._unput = self._unput, set()
        for peer in unput:  # the swarm still waits for what came in vain: it asks anew after a choke
            known = self.swarm.peers.get(peer)
            if known is not None and not known.choked_by:
                self.handle(e.Choked(peer))
                self.handle(e.Unchoked(peer))

    def catch_up(self) -> None:
        """See what has come into the store, or has left it, by itself."""
        store = self.store
        if store.holds == self.swarm.holds and self.finished.is_set() == self.swarm.complete:
            return
        self.lose(piece for piece in list(self.swarm.holds) if piece not in store.holds)
        if self.finished.is_set() and not self.swarm.complete:
            self.finished = anyio.Event()
        for piece in list(store.holds):
            if piece not in self.swarm.holds:
                self.handle(e.Proven(piece, NodeId("")))

    def complain(self, piece: int) -> None:
        """A peer says that a piece of ours does not match; we look at our disk, and at all that goes out."""
        if piece in self.store.holds and piece not in self._complaints:
            self.store.doubt()
            self._uplink.doubt()
            self._complaints.append(piece)
            self._wake()

    async def _look_into_complaints(self) -> None:
        while True:
            while self._complaints:
                piece = self._complaints.popleft()
                try:
                    good = await self.store.recheck(piece)
                except DfedgeError as error:
                    log.error("recheck failed piece=%d error=%s", piece, error)
                    good = False
                if not good and piece not in self.store.holds:
                    self.lose((piece,))
            await self._woken.wait()
