"""Whom to ask for what: the rarest piece that a peer shows, a few at a time, and elsewhere when it does not come."""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from math import inf
from random import Random
from typing import Final

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm.event import Action, Ask, Drop, Snub
from dfedge.core.swarm.peer import Peer, Request
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.rarity import Rarity

_SMALL: Final = 16384  # pieces up to which ANDing two maps costs less than keeping a heap for each peer
_REFILL: Final = 64  # candidates taken from the buckets at a time: the maps are ANDed once for so many pieces
_MOST_READY: Final = 2048  # candidates kept per peer; beyond, the buckets know them
_PIECE: Final = (1 << 32) - 1
_EWMA: Final = 0.25


class Picker:
    """The asking half of a swarm. Every method appends what to do to `out`.

    A peer's `ready` is a heap of (copies, random, piece), packed into one integer each. It is lazy: an entry is checked
    when it is popped, and goes back if the piece became less rare meanwhile. So a decision costs O(log ready), and what
    happens to a piece costs nothing at the peers that show it.
    """

    def __init__(
        self,
        holds: PieceMap,
        rarity: Rarity,
        peers: dict[NodeId, Peer],
        piece_bytes: Callable[[int], int],
        rng: Random,
        policy: Policy,
    ) -> None:
        self._holds, self._rarity, self._peers = holds, rarity, peers
        self._piece_bytes, self._rng, self._policy = piece_bytes, rng, policy
        self.askers: dict[int, list[Peer]] = {}  # piece -> who owes it, oldest first; probes too
        self._waiting: dict[NodeId, None] = {}  # peers that had room when all requests were out
        self._moves: dict[int, int] = {}  # last pieces that moved: each waits twice as long to move again
        self._pieces_out = 0  # asked, bytes still to come; see `_is_beside`; no probes
        self._bytes_out = 0
        self._heard_at = 0.0  # when a byte came from anybody, or nobody owed any
        self._slow_s = inf  # a peer of a longer usual time is slow beside the others
        self._typical = piece_bytes(0) if holds.count else 1
        self.resized()
        self._small = holds.count <= _SMALL
        self.service_s = 0.0  # usual time from asking to proof; 0.0 before the first

    def resized(self) -> None:
        """A peer came or went: what follows from how many there are."""
        count = len(self._peers)
        self._far = count > self._policy.near
        self._depth = self._policy.depth(count)
        self._most = self._policy.most_asked(count, self._typical)

    def refresh(self, peer: Peer) -> None:
        """The map of a peer changed in bulk: take its candidates from the buckets."""
        peer.ready.clear()
        peer.more = True

    def offer(self, peer: Peer, pieces: Iterable[int]) -> None:
        """A peer shows these too."""
        if self._small:
            peer.more = True
            return
        for piece in pieces:
            if self._rarity.is_wanted(piece):
                self._push(peer, piece)

    def fill(self, peer: Peer, now: float, out: list[Action]) -> None:
        """Ask a peer for as much as it should owe us."""
        if peer.choked_by or self._holds.complete:
            return
        if peer.snubbed:
            self._probe(peer, now, out)
            return
        while self._room(peer, now):
            piece = self._next(peer)
            if piece is None:
                return
            size = self._piece_bytes(piece)
            if self._bytes_out and self._bytes_out + size > self._policy.max_outstanding_bytes:
                self._push(peer, piece)
                self._waiting[peer.id] = None
                return
            shown_by = self._rarity.copies(piece)
            self._ask(peer, piece, now, out, f"rarest it shows: {shown_by} of {len(self._peers)} peers show it")

    def ask_on(self, peer: Peer, now: float, out: list[Action]) -> None:
        """The same, and at the end also for what others are slow with."""
        if self._is_full(peer, now):
            return
        self.fill(peer, now, out)
        if not self._rarity.wanted and not peer.owing and not self._holds.complete:
            self._endgame(peer, now, out)

    def received(self, peer: Peer, piece: int, nbytes: int, now: float, out: list[Action]) -> None:
        """Bytes came; when they were the last of their piece, ask on without waiting for the proof."""
        peer.bytes_down += nbytes
        peer.last_byte = self._heard_at = now
        request = peer.asked.get(piece)
        if request is None:
            peer.bytes_wasted += nbytes
            return
        owed = request.owed
        request.received += nbytes
        if not request.probe:
            self._bytes_out -= owed - request.owed
        if owed and not request.owed:
            peer.owing -= 1
            self._pieces_out -= request.counted
            self._fill_after(peer, now, out)

    def proven(self, piece: int, peer: Peer | None, now: float, out: list[Action]) -> None:
        """A piece is held now: nobody else owes it. `_holds` already has it."""
        self._rarity.unwant(piece)
        self._moves.pop(piece, None)
        for other in self.askers.get(piece, ())[:]:
            request = self._forget(other, piece)
            if other is not peer:
                other.bytes_wasted += request.received
                out.append(Drop(other.id, piece, "proven from another peer"))
            elif not request.probe:
                took = now - request.asked_at
                self.service_s += (took - self.service_s) * (_EWMA if self.service_s else 1.0)
                other.service_s += (took - other.service_s) * (_EWMA if other.service_s else 1.0)
        if peer is not None:
            peer.snubbed = False
            peer.probe_wait = 0.0
            self._fill_after(peer, now, out)

    def lost(self, peer: Peer, piece: int) -> bool:
        """What we asked will not come from this peer. True if it was owed."""
        if piece not in peer.asked:
            return False
        peer.bytes_wasted += self._forget(peer, piece).received
        self.missing(piece)
        return True

    def lost_all(self, peer: Peer) -> list[int]:
        """Nothing that we asked will come from this peer."""
        pieces = list(peer.asked)
        for piece in pieces:
            self.lost(peer, piece)
        return pieces

    def missing(self, piece: int) -> None:
        """If nobody owes the piece (a probe does not count), it is wanted again, of whoever shows it."""
        if piece in self._holds or any(not p.asked[piece].probe for p in self.askers.get(piece, ())):
            return
        self._rarity.want(piece)
        for peer in self._peers.values():
            if piece in peer.shown:
                self._push(peer, piece)

    def fill_all(self, now: float, out: list[Action]) -> None:
        """Ask everybody with room, those that owe least first."""
        for peer in sorted(self._peers.values(), key=lambda each: each.owing):
            if peer.snubbed or not self._is_full(peer, now):
                self.fill(peer, now, out)

    def tick(self, now: float, out: list[Action]) -> None:
        """Deadlines and endgame."""
        if self._holds.complete:
            return
        if self._far:
            services = sorted(peer.service_s for peer in self._peers.values() if peer.service_s)
            self._slow_s = self._policy.far_slow * services[(len(services) - 1) // 4] if services else inf
        for peer in self._peers.values():
            if peer.owing and not peer.snubbed and now - peer.last_byte > self.snub_after():
                self._snub(peer, now, out)
        self.fill_all(now, out)
        if not self._rarity.wanted:
            for peer in self._peers.values():
                self._endgame(peer, now, out)

    def snub_after(self) -> float:
        """Seconds without a byte that a peer may owe us."""
        if not self.service_s:
            return self._policy.first_snub_s
        return max(self._policy.snub_s, self._policy.patience * self.service_s)

    def _fill_after(self, peer: Peer, now: float, out: list[Action]) -> None:
        if self._waiting:
            for _ in range(len(self._waiting)):
                if self._pieces_out >= self._most:
                    break
                waiting = next(iter(self._waiting))
                del self._waiting[waiting]
                if waiting in self._peers:
                    self.fill(self._peers[waiting], now, out)
        self.ask_on(peer, now, out)

    def _is_full(self, peer: Peer, now: float) -> bool:
        """What `_room` would find, in short, for what happens most often: every piece that any peer of many gets."""
        if (
            self._pieces_out < self._most
            or not self._far
            or peer.steers
            or not self._rarity.wanted
            or now - self._heard_at > self._policy.stalled_s
        ):
            return False
        if not peer.owing:
            self._waiting[peer.id] = None
        return True

    def _room(self, peer: Peer, now: float) -> bool:
        """Whether a peer may owe us one more piece."""
        policy, owing = self._policy, peer.owing
        if owing:
            if not self._far and peer.bytes_down and self._few() and peer.outstanding_bytes < policy.pipeline_bytes:
                return True
            if owing >= self._depth:
                return False
        elif not self._far or peer.steers or now - self._heard_at > max(policy.stalled_s, self.service_s):
            return True  # whatever others owe: a silent one must not keep us from the rest
        if self._pieces_out < self._most:
            return True
        self._waiting[peer.id] = None
        return False

    def _is_beside(self, peer: Peer) -> bool:
        """Whether what it owes is none of the few pieces: the seed has what nobody else has, and slow peers, of which
        there may be as many as we ask pieces, would keep us from the fast ones."""
        return self._far and (peer.steers or peer.service_s > self._slow_s)

    def _few(self) -> bool:
        sources = 0
        for peer in self._peers.values():
            if not peer.choked_by and not peer.snubbed and (peer.asked or peer.ready or peer.more):
                sources += 1
                if sources >= self._policy.few_sources:
                    return False
        return True

    def _push(self, peer: Peer, piece: int) -> None:
        if self._small:
            peer.more = True
        elif len(peer.ready) >= _MOST_READY:
            self.refresh(peer)
        elif piece not in peer.spoilt:
            heappush(peer.ready, self._pack(piece))

    def _pack(self, piece: int) -> int:
        return (max(0, self._rarity.copies(piece)) << 20 | self._rng.getrandbits(20)) << 32 | piece

    def _next(self, peer: Peer) -> int | None:
        """The rarest piece to ask a peer for; taken off its heap."""
        ready, rarity = peer.ready, self._rarity
        if self._small:
            return self._pick(peer)
        while True:
            while ready:
                entry = heappop(ready)
                piece = entry & _PIECE
                if (
                    not rarity.is_wanted(piece)
                    or piece not in peer.shown
                    or piece in peer.spoilt
                    or piece in peer.asked
                ):
                    continue
                if ready and rarity.copies(piece) > entry >> 52 and ready[0] >> 52 < rarity.copies(piece):
                    heappush(ready, self._pack(piece))
                    continue
                return piece
            if not peer.more or not rarity.wanted:
                return None
            found = rarity.rarest(peer.shown.encode(), _REFILL + len(peer.spoilt), self._rng)
            peer.more = len(found) >= _REFILL
            ready.extend(self._pack(piece) for piece in found if piece not in peer.spoilt)
            heapify(ready)
            if not ready:
                return None

    def _pick(self, peer: Peer) -> int | None:
        """The same for an image of few pieces: straight from the buckets."""
        if not peer.more or not self._rarity.wanted:
            return None
        shown = peer.shown.encode()
        piece = self._rarity.pick(shown, self._rng)
        if piece is None:
            peer.more = False
        elif piece in peer.spoilt or piece in peer.asked:
            found = self._rarity.rarest(shown, len(peer.spoilt) + len(peer.asked) + 1, self._rng)
            return next((each for each in found if each not in peer.spoilt and each not in peer.asked), None)
        return piece

    def _ask(self, peer: Peer, piece: int, now: float, out: list[Action], reason: str, probe: bool = False) -> None:
        request = Request(self._piece_bytes(piece), now, probe, counted=not (probe or self._is_beside(peer)))
        if not peer.owing:
            peer.last_byte = now
        if not self.askers:
            self._heard_at = now
        peer.asked[piece] = request
        peer.owing += 1
        self.askers.setdefault(piece, []).append(peer)
        if not probe:
            self._pieces_out += request.counted
            self._bytes_out += request.size
            self._rarity.unwant(piece)
        out.append(Ask(peer.id, piece, reason))

    def _forget(self, peer: Peer, piece: int) -> Request:
        request = peer.asked.pop(piece)
        askers = self.askers[piece]
        askers.remove(peer)
        if not askers:
            del self.askers[piece]
        if request.owed:
            peer.owing -= 1
            self._pieces_out -= request.counted
            if not request.probe:
                self._bytes_out -= request.owed
        return request

    def _snub(self, peer: Peer, now: float, out: list[Action]) -> None:
        """Ask elsewhere for what a peer owes; the oldest stays as its probe, in case nobody else has it."""
        owed = [piece for piece, request in peer.asked.items() if request.owed]
        silent = now - peer.last_byte
        peer.snubbed = True
        self._wait_longer(peer, now)
        kept, *rest = owed
        for piece in rest:
            self.lost(peer, piece)
            out.append(Drop(peer.id, piece, f"no byte for {silent:.1f} s, asked elsewhere"))
        request = peer.asked[kept]
        if not request.probe:
            request.probe = True
            self._pieces_out -= request.counted
            request.counted = False
            self._bytes_out -= request.owed
        self.missing(kept)
        out.append(
            Snub(
                peer.id,
                f"owes {len(owed)} pieces and sent no byte for {silent:.1f} s, the most is {self.snub_after():.1f} s",
            )
        )

    def _probe(self, peer: Peer, now: float, out: list[Action]) -> None:
        if peer.owing or now < peer.probe_at:
            return
        piece = self._next(peer)
        if piece is not None:
            self._wait_longer(peer, now)
            self._ask(peer, piece, now, out, "a probe: does it answer again", probe=True)
            self._push(peer, piece)

    def _wait_longer(self, peer: Peer, now: float) -> None:
        peer.probe_wait = min(self._policy.max_probe_s, max(self._policy.probe_s, 2 * peer.probe_wait))
        peer.probe_at = now + peer.probe_wait

    def _endgame(self, peer: Peer, now: float, out: list[Action]) -> None:
        """Everything missing is asked for: give an idle peer a piece that another is slow with.

        What the other has not begun to send moves, each time after a longer wait, or two slow peers would be asked in
        turn for ever; what it has begun is asked twice when it is unusually late.
        """
        if peer.owing or peer.choked_by or peer.snubbed:
            return
        policy, usual = self._policy, self.service_s
        twice_after = max(policy.endgame_s, policy.endgame_patience * usual) if usual else policy.snub_s
        moves_after = max(policy.move_s, policy.move_patience * usual) if usual else policy.snub_s
        soonest = now - min(twice_after, moves_after)
        for piece, askers in self.askers.items():
            if len(askers) == 1 and askers[0].asked[piece].asked_at >= soonest:
                continue  # by far the most
            owing = [each for each in askers if not each.asked[piece].probe]
            if len(owing) != 1 or piece not in peer.shown or piece in peer.spoilt or piece in peer.asked:
                continue
            slow = owing[0]
            request = slow.asked[piece]
            waited = now - request.asked_at
            moves = self._moves.get(piece, 0)
            if not request.received and waited > moves_after * 2**moves:
                self._moves[piece] = min(moves + 1, 16)
                self.lost(slow, piece)
                out.append(Drop(slow.id, piece, f"not begun after {waited:.1f} s, an idle peer has it"))
            elif not request.owed or waited <= twice_after:
                continue
            self._ask(peer, piece, now, out, f"endgame: waited {waited:.1f} s for it elsewhere")
            return
