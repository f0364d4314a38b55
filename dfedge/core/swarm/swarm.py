"""One image and its peers: whom to ask for what, whom to show what, whom to serve."""

from collections.abc import Callable
from random import Random
from typing import assert_never

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm.bits import pieces_in, without
from dfedge.core.swarm.choker import Choker
from dfedge.core.swarm.event import (
    Action,
    Choked,
    Event,
    Finished,
    Joined,
    Left,
    Lost,
    Proven,
    Received,
    Refuse,
    Rejected,
    Show,
    Shown,
    Spoiled,
    Tick,
    Unchoked,
    Withdrawn,
)
from dfedge.core.swarm.peer import Peer
from dfedge.core.swarm.picker import Picker
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.rarity import Rarity
from dfedge.core.swarm.seeding import MAX_SHOW, Seeding
from dfedge.core.swarm.why import held_back


class Swarm:
    """Feed it what happened, do what it returns, in order. One object is leecher, half-done node and seed.

    `holds` is copied; afterwards Proven and Lost change our copy. `now` is the caller's monotonic time in seconds,
    `rng` the caller's: one seed replays one swarm. On a peer's Join: `handle(Joined)`, then send our own Join with
    `greeting`, then carry the actions out. Events about a peer that is not in the swarm are ignored; piece numbers are
    below `manifest_pieces`: who reads them from a peer checks that.
    """

    def __init__(
        self,
        manifest_pieces: int,
        piece_bytes: Callable[[int], int],
        holds: PieceMap,
        rng: Random,
        policy: Policy,
    ) -> None:
        assert manifest_pieces == holds.count
        self.holds = holds.copy()
        self._rng, self._policy = rng, policy
        self._typical = piece_bytes(0) if manifest_pieces else 1
        self.peers: dict[NodeId, Peer] = {}
        self._fresh: list[int] = []  # proven, and nobody was told yet
        self._greeted: dict[NodeId, PieceMap] = {}  # shown before the peer joined
        self._rarity = Rarity(self.holds)
        self._picker = Picker(self.holds, self._rarity, self.peers, piece_bytes, rng, policy)
        self._choker = Choker(self.peers, rng, policy)
        self._seeding: Seeding | None = None
        if self.complete and manifest_pieces:
            self._begin_seeding()

    @property
    def complete(self) -> bool:
        """Whether every piece is proven."""
        return self.holds.complete

    def is_complete(self, peer: NodeId) -> bool:
        """Whether a peer of the swarm holds everything, shown or not."""
        return peer in self.peers and self.peers[peer].complete

    def greeting(self, peer: NodeId, now: float) -> PieceMap:
        """What our Join to a peer shows: all we hold, or, from a seed, what the peer is to have of it.

        It may come before the peer's own Join; what we prove until then is shown when it comes.
        """
        del now
        shown = self.holds.copy() if self._seeding is None else self._seeding.shown_to(peer)
        if peer not in self.peers:
            self._greeted[peer] = shown
        return shown

    def held_back(self, now: float) -> list[tuple[str, float]]:
        """What keeps the missing pieces from us: reasons for people, each with its share of them (0.0 to 1.0)."""
        return held_back(self.holds, self.peers, self._picker.askers, now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened; returns what to do about it."""
        out = self.decide(event, now)
        return [*(Show(peer, pieces) for peer, pieces in self.news()), *out] if self._fresh else out

    def news(self) -> list[tuple[NodeId, tuple[int, ...]]]:
        """What to tell whom of what was proven since the last call: all who lack it, and a seed, which steers by it."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return []
        if self.complete:
            pieces = tuple(fresh)
            return [(peer, pieces) for peer in self.peers]
        return [
            (peer.id, tuple(news))
            for peer in self.peers.values()
            if not peer.complete or peer.steers
            if (news := fresh if peer.steers else peer.shown.lacking(fresh))
        ]

    def decide(self, event: Event, now: float) -> list[Action]:
        """The same as `handle`, for a room that tells of many pieces at a time: it calls `news` when it pleases."""
        out: list[Action] = []
        if isinstance(event, Received):  # once a block
            if (sender := self.peers.get(event.peer)) is not None:
                self._picker.received(sender, event.piece, event.nbytes, now, out)
            return out
        if isinstance(event, Shown):  # once a piece and peer
            if (peer := self.peers.get(event.peer)) is not None:
                self._shown(peer, event.pieces, event.complete, now, out)
            return out
        if isinstance(event, Proven):
            self._proven(event.piece, self.peers.get(event.peer), now, out)
            return out
        if isinstance(event, Tick):
            self._tick(now, out)
            return out
        if isinstance(event, Lost):
            self._lost(event.piece, now, out)
            return out
        if isinstance(event, Joined):
            self._joined(event, now, out)
            return out
        peer = self.peers.get(event.peer)
        if peer is None:
            if isinstance(event, Left):
                self._greeted.pop(event.peer, None)
        else:
            self._of_peer(event, peer, now, out)
        return out

    def _of_peer(
        self,
        event: Left | Withdrawn | Choked | Unchoked | Rejected | Spoiled,
        peer: Peer,
        now: float,
        out: list[Action],
    ) -> None:
        match event:
            case Unchoked():
                peer.choked_by = False
                self._picker.fill(peer, now, out)
            case Choked():
                peer.choked_by = True
                self._picker.lost_all(peer)
                self._restore(peer)
                self._picker.fill_all(now, out)
            case Left():
                self._left(peer, now, out)
            case Withdrawn(_, pieces):
                peer.complete = False
                self._withdraw(peer, pieces, now, out)
                self._choker.settle(out)
            case Rejected(_, piece):
                if piece in peer.asked:
                    peer.refused.add(piece)
                    self._withdraw(peer, (piece,), now, out)
            case Spoiled(piece, _):
                peer.spoilt.add(piece)
                self._withdraw(peer, (piece,), now, out)
            case _:
                assert_never(event)

    def _joined(self, event: Joined, now: float, out: list[Action]) -> None:
        if event.peer in self.peers:
            self._left(self.peers[event.peer], now, out)
        peer = Peer(event.peer, event.holds.copy(), event.complete or event.holds.complete)
        peer.last_byte = now
        peer.steers = peer.complete and not peer.shown.complete
        self.peers[peer.id] = peer
        self._picker.resized()
        if peer.shown.complete:
            peer.everywhere = True
            self._rarity.everywhere += 1
        else:
            self._rarity.more_of(peer.shown.encode())
        self._picker.refresh(peer)
        shown = self._greeted.pop(peer.id, None)
        if shown is not None and self._seeding is None:
            news = without(self.holds.encode(), shown.encode())
            pieces = tuple(pieces_in(news))
            out.extend(Show(peer.id, pieces[at : at + MAX_SHOW]) for at in range(0, len(pieces), MAX_SHOW))
        if self._seeding is not None:
            self._seeding.joined(peer, shown_all=shown is not None and shown.complete)
            if not peer.everywhere:
                for piece in pieces_in(peer.shown.encode()):
                    self._seeding.has(peer, piece, now)
        self._choker.joined(peer, out)
        self._steer(now, out)

    def _left(self, peer: Peer, now: float, out: list[Action]) -> None:
        pieces = self._picker.lost_all(peer)
        del self.peers[peer.id]
        self._picker.resized()
        if peer.everywhere:
            self._rarity.everywhere -= 1
        gone = peer.shown.encode()
        if not peer.everywhere or not peer.shown.complete:
            for piece in pieces_in(gone) if not peer.everywhere else peer.shown.missing():
                (self._rarity.more if peer.everywhere else self._rarity.fewer)(piece)
        for piece in pieces:
            self._picker.missing(piece)
        if self._seeding is not None:
            self._seeding.left(peer)
        for other in self.peers.values():
            self._picker.refresh(other)
        self._choker.left(peer, out)
        self._picker.fill_all(now, out)
        self._steer(now, out)

    def _shown(self, peer: Peer, pieces: tuple[int, ...], complete: bool, now: float, out: list[Action]) -> None:
        news = peer.shown.add_all(pieces)
        if peer.refused:
            peer.refused.difference_update(news)
        if self._seeding is None:
            self._rarity.more_each(news)
        else:
            for piece in news:
                self._rarity.more(piece)
                self._seeding.has(peer, piece, now)
        complete = complete or peer.shown.complete
        if complete != peer.complete:
            peer.complete = complete
            self._choker.settle(out)
        if self._seeding is not None:
            self._steer(now, out)
        if not self.complete:
            self._picker.offer(peer, news)
            self._picker.ask_on(peer, now, out)

    def _restore(self, peer: Peer) -> None:
        """What it refused it may have refused because it was about to choke us: after that it counts again."""
        for piece in peer.refused:
            if piece not in peer.shown:
                peer.shown.add(piece)
                self._rarity.more(piece)
        self._picker.offer(peer, peer.refused)
        peer.refused.clear()

    def _withdraw(self, peer: Peer, pieces: tuple[int, ...], now: float, out: list[Action]) -> None:
        for piece in pieces:
            if piece in peer.shown:
                peer.shown.discard(piece)
                self._rarity.fewer(piece)
            self._picker.lost(peer, piece)
        if self._seeding is not None:
            self._seeding.vanished(pieces)
            self._steer(now, out)
        self._picker.fill_all(now, out)

    def _proven(self, piece: int, sender: Peer | None, now: float, out: list[Action]) -> None:
        if piece in self.holds:
            return
        self.holds.add(piece)
        self._fresh.append(piece)
        self._picker.proven(piece, sender, now, out)
        if self.complete:
            if self._seeding is None:
                self._begin_seeding()
            out.append(Finished())

    def _lost(self, piece: int, now: float, out: list[Action]) -> None:
        if piece not in self.holds:
            return
        self.holds.discard(piece)
        if self._seeding is not None:
            self._seeding.lost(piece)
        self._picker.missing(piece)
        self._picker.fill_all(now, out)

    def _tick(self, now: float, out: list[Action]) -> None:
        self._choker.tick(now, out)
        self._picker.tick(now, out)
        if self._seeding is not None:
            self._seeding.tick(now)
        self._steer(now, out)

    def _begin_seeding(self) -> None:
        """From here on newcomers are steered; those who are here have been shown everything."""
        self._seeding = Seeding(self.holds, self._rarity, self.peers, self._typical, self._rng, self._policy)
        for peer in self.peers.values():
            self._seeding.joined(peer, shown_all=True)

    def _steer(self, now: float, out: list[Action]) -> None:
        if self._seeding is None:
            return
        for action in out:
            if isinstance(action, Refuse):
                self._seeding.take_back(self.peers[action.peer])
        self._seeding.steer(now, out)
