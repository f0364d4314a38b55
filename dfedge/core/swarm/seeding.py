"""Which pieces a seed shows to whom: each to one peer before any to two, so its uplink is spent on new pieces only.

A peer can ask only for what it is shown. A piece given to one peer is passed on by that peer; the seed sees by the
others' Haves how well that goes, and gives more to those that pass on faster. What goes wrong ages out: a piece that
was not taken, or not passed on, is anybody's again. Simulated in tests/sim.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from math import inf
from random import Random
from typing import Final

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm.bits import pieces_in, without
from dfedge.core.swarm.event import Action, Show
from dfedge.core.swarm.peer import Peer
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.rarity import Rarity

_EWMA: Final = 0.25
_QUEUE: Final = 256  # second copies planned ahead per peer, by how rare they were then
_PACE: Final = 1.0  # seconds to a second copy, before any was seen
MAX_SHOW: Final = 1024  # pieces in one Show: a Have holds no more


@dataclass(slots=True)
class Taker:
    """What a seed knows of one peer it may give to. Times are monotonic seconds."""

    peer: Peer
    open: bool = False  # it has been shown everything
    pending: dict[int, float] = field(default_factory=dict)  # shown and not had: when shown
    backlog: dict[int, tuple[float, float]] = field(default_factory=dict)  # had first-hand, no second copy: shown, had
    pace: float = 0.0  # usual seconds from given to second copy; 0.0 before the first
    taken: int = 0  # pieces it has had of us
    alone: bool = False  # the last of its pieces to be judged was fetched by nobody: it may see nobody but us
    queue: list[int] = field(default_factory=list)  # pieces it lacks, the rarest last
    dry_until: float = 0.0  # no need to look for such pieces again before


class Seeding:
    """The giving half of a swarm, once the node holds everything. Methods append what to show to `out`."""

    def __init__(
        self, holds: PieceMap, rarity: Rarity, peers: dict[NodeId, Peer], piece_bytes: int, rng: Random, policy: Policy
    ) -> None:
        self._holds, self._rarity, self._peers = holds, rarity, peers
        self._rng, self._policy = rng, policy
        self._open_window = policy.open_window(piece_bytes)
        self._takers: dict[NodeId, Taker] = {}
        self._gifts: dict[int, Taker] = {}  # given first-hand to whom, until a second copy is seen
        self._ungiven = bytearray(holds.count)  # 1: no copy anywhere and given to nobody; found by memchr
        self._left = 0
        self._cursor = rng.randrange(holds.count)
        self._delay = 0.0  # usual seconds from shown to had
        self.recount()

    def recount(self) -> None:
        """Look at every piece: those that nobody shows and nobody was given are ungiven.

        Peers that came with everything do not count: another seed spreads them too, but one liar must not stop us.
        """
        rarity, holds, gifts = self._rarity, self._holds, self._gifts
        self._ungiven = bytearray(
            1 if rarity.seen(piece) <= 0 and piece in holds and piece not in gifts else 0
            for piece in range(holds.count)
        )
        self._left = self._ungiven.count(1)

    def shown_to(self, peer: NodeId) -> PieceMap:
        """What a peer may ask us for that it lacks."""
        taker = self._takers.get(peer)
        if taker is None:
            return PieceMap(self._holds.count)
        return self._holds.copy() if taker.open else PieceMap(self._holds.count, taker.pending)

    def joined(self, peer: Peer, shown_all: bool) -> None:
        """A peer came; `shown_all` says that it has been shown everything. Its pieces have copies now."""
        self._takers[peer.id] = Taker(peer, open=shown_all, pace=self._quartile())

    def left(self, peer: Peer) -> None:
        """A peer went, and its copies with it: what only it had, or was to have, is ungiven again."""
        taker = self._takers.pop(peer.id)
        self._take_back(taker)
        if not peer.everywhere:
            self.vanished(pieces_in(peer.shown.encode()))

    def take_back(self, peer: Peer) -> None:
        """We serve this peer no more: others get what it was to have."""
        self._take_back(self._takers[peer.id])

    def vanished(self, pieces: Iterable[int]) -> None:
        """Copies of these are gone; those with none left are ungiven again."""
        for piece in pieces:
            self._release(piece)

    def lost(self, piece: int) -> None:
        """Our own copy is gone."""
        if self._ungiven[piece]:
            self._ungiven[piece] = 0
            self._left -= 1
        self._gifts.pop(piece, None)
        for taker in self._takers.values():
            taker.pending.pop(piece, None)
            taker.backlog.pop(piece, None)

    def has(self, peer: Peer, piece: int, now: float) -> None:
        """A peer shows that it has a piece. Rarity counts it already."""
        taker = self._takers[peer.id]
        if self._ungiven[piece]:
            self._ungiven[piece] = 0
            self._left -= 1
        shown = taker.pending.pop(piece, None)
        if shown is not None:
            taker.taken += 1
            self._delay += (now - shown - self._delay) * (_EWMA if self._delay else 1.0)
        owner = self._gifts.get(piece)
        if owner is taker and shown is not None and self._rarity.seen(piece) < 2:
            taker.backlog[piece] = (shown, now)
            if taker.alone and len(taker.backlog) > self._policy.window:
                self._gifts.pop(self._pop_oldest(taker), None)
        elif owner is taker:
            del self._gifts[piece]
        elif owner is not None and (given := owner.backlog.pop(piece, None)) is not None:
            took = now - given[0]
            owner.pace += (took - owner.pace) * (_EWMA if owner.pace else 1.0)
            owner.alone = False
            del self._gifts[piece]

    def tick(self, now: float) -> None:
        """Age out what was shown and not taken, and what was taken and not passed on."""
        stale = max(self._policy.pending_s, 4 * self._delay) if self._delay else self._policy.first_pending_s
        unspread = max(self._policy.backlog_s, 4 * self._delay, 4 * self._quartile())
        for taker in self._takers.values():
            while taker.pending and now - next(iter(taker.pending.values())) > stale:
                piece = next(iter(taker.pending))
                del taker.pending[piece]
                if self._gifts.get(piece) is taker:
                    del self._gifts[piece]
                    self._release(piece)
                taker.pace = max(taker.pace, stale)
            while taker.backlog and now - next(iter(taker.backlog.values()))[1] > unspread:
                self._gifts.pop(self._pop_oldest(taker), None)
                taker.alone = True
                taker.pace = max(taker.pace, unspread)

    def steer(self, now: float, out: list[Action]) -> None:
        """Show what should be shown now."""
        incomplete = sum(not peer.complete for peer in self._peers.values())
        takers = [t for t in self._takers.values() if t.peer.served and not t.peer.complete and not t.open]
        if not takers:
            return
        ample = len(self._peers) - incomplete + 1 >= incomplete
        shows: dict[NodeId, list[int]] = {}
        quartile = self._quartile()
        while self._left:
            taker = self._neediest(takers, ample, quartile, now)
            if taker is None:
                break
            piece = self._next_ungiven()
            self._gifts[piece] = taker
            self._give(taker, piece, now, shows)
        if not self._left:
            most = self._copies_now(takers, quartile, now)
            for taker in sorted(takers, key=lambda each: each.pace):
                for _ in range(min(most, self._second_copies(taker, ample))):
                    copy = self._next_lacking(taker, quartile, now)
                    if copy is None:
                        break
                    self._give(taker, copy, now, shows)
                    most -= 1
        for peer, pieces in shows.items():
            out.extend(Show(peer, tuple(pieces[at : at + MAX_SHOW])) for at in range(0, len(pieces), MAX_SHOW))

    def _copies_now(self, takers: list[Taker], quartile: float, now: float) -> int:
        """How many second copies may be shown now. With few takers as many as they have room for.

        With many all of these would stand before us in one queue: none while a piece that nobody has yet is about to be
        asked for, and then only so many that our uplink is busy.
        """
        if len(takers) <= self._policy.near:
            return len(self._ungiven) * len(takers)
        recent, waiting = now - max(self._policy.slow * quartile, self._policy.tick), 0
        for taker in takers:
            for piece, given in taker.pending.items():
                if given > recent:
                    if self._gifts.get(piece) is taker:
                        return 0
                    waiting += 1
        return max(0, self._policy.far_outstanding - waiting)

    def _neediest(self, takers: list[Taker], ample: bool, quartile: float, now: float) -> Taker | None:
        """Who should have the next ungiven piece: the least work in hand, by how fast it passes on.

        None if nobody has room, or if it pays to wait for one that has none yet but is so much faster. A slow one gets
        none that it would pass on after the others could have had all that is left: they would wait for it in the end.
        """
        best, least, best_full = None, 0.0, False
        lasts = 0.0  # seconds until all have what is left; looked at once a slow one is met
        for taker in takers:
            load = len(taker.pending)
            if ample:
                if load < self._ahead(taker) and (best is None or load < least):
                    best, least = taker, load
                continue
            pace = taker.pace or _PACE
            if taker.backlog:
                pace = max(pace, now - next(iter(taker.backlog.values()))[0])
            slow = bool(quartile) and pace > self._policy.slow * quartile
            if slow or not taker.alone:
                load += len(taker.backlog)
            full = load >= self._window(taker) or (slow and load > 0)
            if full and (slow or self._stuck(taker, now)):
                continue
            if slow and pace > (lasts := lasts or quartile + self._lasts(takers, now)):
                continue
            score = (load + 1) * pace
            if best is None or score < least:
                best, least, best_full = taker, score, full
        return None if best_full else best

    def _lasts(self, takers: list[Taker], now: float) -> float:
        """Seconds until these have taken what is left, by what they have in hand and how long that takes them
        (Little's law)."""
        taken = sum(
            (len(taker.pending) + len(taker.backlog)) / taker.pace
            for taker in takers
            if taker.pace and not self._stuck(taker, now)
        )
        return self._left / taken if taken else inf

    def _stuck(self, taker: Taker, now: float) -> bool:
        """Whether what it was shown is not taken as fast as usual: nobody should wait for it."""
        if not taker.pending:
            return False
        return not taker.pace or now - next(iter(taker.pending.values())) > self._policy.patience * taker.pace

    def _second_copies(self, taker: Taker, ample: bool) -> int:
        """How many more pieces, which others have too, to show to a peer."""
        have = len(taker.pending)
        if ample:
            window = self._ahead(taker)
            return window - have if have <= window // 2 else 0
        return max(0, (self._policy.window if taker.alone else 1) - have)

    def _window(self, taker: Taker) -> int:
        """W, but less until we know how well the peer passes on: slow ones must not sit on many pieces."""
        return self._policy.window if taker.pace else self._policy.first_window

    def _ahead(self, taker: Taker) -> int:
        """How many pieces to show ahead where seeds are no fewer than leechers. It grows as they are taken: of a
        fleet that starts together, the first to join must not get more than its share."""
        return min(self._open_window, self._policy.window + taker.taken)

    def _give(self, taker: Taker, piece: int, now: float, shows: dict[NodeId, list[int]]) -> None:
        taker.pending.pop(piece, None)
        taker.pending[piece] = now
        shows.setdefault(taker.peer.id, []).append(piece)

    def _next_ungiven(self) -> int:
        """A run of pieces from a random place; from another where it meets pieces that somebody else gave."""
        piece = self._ungiven.find(1, self._cursor)
        if piece != self._cursor:
            piece = self._ungiven.find(1, self._rng.randrange(len(self._ungiven)))
            if piece < 0:
                piece = self._ungiven.find(1)
        self._cursor = (piece + 1) % len(self._ungiven)
        self._ungiven[piece] = 0
        self._left -= 1
        return piece

    def _next_lacking(self, taker: Taker, quartile: float, now: float) -> int | None:
        """A piece the peer lacks, of fewest copies when the queue was made."""
        while True:
            while taker.queue:
                piece = taker.queue.pop()
                if piece not in taker.peer.shown and piece not in taker.pending and piece in self._holds:
                    return piece
            if now < taker.dry_until:
                return None
            taker.queue = self._lacking(taker, quartile, now)
            if not taker.queue:
                taker.dry_until = now + self._policy.tick

    def _lacking(self, taker: Taker, quartile: float, now: float) -> list[int]:
        lacks = without(self._holds.encode(), taker.peer.shown.encode())
        recent = now - self._policy.slow * quartile
        keyed = (
            (self._rarity.seen(piece), self._rng.random(), piece)
            for piece in pieces_in(lacks)
            if piece not in taker.pending and not self._on_its_way(piece, recent)
        )
        return [piece for _, _, piece in reversed(nsmallest(_QUEUE, keyed))]

    def _on_its_way(self, piece: int, recent: float) -> bool:
        owner = self._gifts.get(piece)
        return owner is not None and owner.pending.get(piece, recent) > recent

    def _quartile(self) -> float:
        """The lower quartile of the peers' paces; 0.0 when none is known."""
        paces = sorted(taker.pace for taker in self._takers.values() if taker.pace and not taker.peer.complete)
        return paces[(len(paces) - 1) // 4] if paces else 0.0

    def _pop_oldest(self, taker: Taker) -> int:
        piece = next(iter(taker.backlog))
        del taker.backlog[piece]
        return piece

    def _take_back(self, taker: Taker) -> None:
        pieces = [*taker.pending, *taker.backlog]
        taker.pending.clear()
        taker.backlog.clear()
        for piece in pieces:
            if self._gifts.get(piece) is taker:
                del self._gifts[piece]
                self._release(piece)

    def _release(self, piece: int) -> None:
        if (
            not self._ungiven[piece]
            and piece not in self._gifts
            and piece in self._holds
            and self._rarity.seen(piece) <= 0
        ):
            self._ungiven[piece] = 1
            self._left += 1
