"""How many pieces each peer may owe us: few until some are proven, so that of one that has rotted few are wasted."""

import math
from collections.abc import Container
from typing import Final

from dfedge.core.seams import NodeId

PROBATION: Final = 4  # pieces of a peer, proven one after the other, until it may owe us more than two
AFTER_BAD: Final = -4  # where a peer's count of proven pieces stands after a bad one: it owes one at a time until 0
MAX_BAD: Final = 256  # peers whose last bad piece is remembered
UNLIMITED: Final = 32  # proven pieces after which the swarm alone says how many


class Credit:
    """What the peers of one swarm owe, and what they have given."""

    def __init__(self) -> None:
        self._streak: dict[NodeId, int] = {}  # proven pieces of a peer since its last bad one, from AFTER_BAD up
        self._owed: dict[NodeId, set[int]] = {}  # pieces asked of a peer that are neither proven nor given up
        self._bad: dict[NodeId, int] = {}  # the last bad piece of a peer, until it says that it has lost it
        self._doubtful: dict[NodeId, set[int]] = {}  # those it owed when its last bad one came, and was told of it

    def has(self, peer: NodeId) -> bool:
        """Whether a peer may owe us one more."""
        return len(self._owed.get(peer, ())) < _most(self._streak.get(peer, 0))

    def take(self, peer: NodeId, piece: int) -> bool:
        """Let a peer owe us a piece, unless it may not owe one more."""
        owed = self._owed.setdefault(peer, set())
        if piece not in owed and not self.has(peer):
            return False
        owed.add(piece)
        return True

    def settle(self, peer: NodeId, piece: int) -> None:
        """A peer owes us a piece no more."""
        self._owed.get(peer, set()).discard(piece)
        self._doubtful.get(peer, set()).discard(piece)

    def proven(self, peer: NodeId) -> None:
        """A piece of a peer's was good."""
        self._streak[peer] = self._streak.get(peer, 0) + 1

    def spoiled(self, peer: NodeId, piece: int) -> bool:
        """A piece of a peer's was bad. False if that is no new fault: who had given good ones owed it when the last
        bad one came, and has not heard of that in time to look at its disk."""
        self._bad[peer] = piece
        if len(self._bad) > MAX_BAD:
            del self._bad[next(iter(self._bad))]
        doubtful = self._doubtful.setdefault(peer, set())
        if piece in doubtful:
            doubtful.discard(piece)
            return False
        if self._streak.get(peer, 0) >= PROBATION:
            doubtful |= self._owed.get(peer, set()) - {piece}
        self._streak[peer] = AFTER_BAD
        return True

    def bad_piece(self, peer: NodeId) -> int | None:
        """A piece that came bad from a peer, which has not said since that it has lost it."""
        return self._bad.get(peer)

    def owned_up(self, peer: NodeId, pieces: Container[int]) -> None:
        """A peer says that it has lost these pieces."""
        if self._bad.get(peer) in pieces:
            del self._bad[peer]

    def forget(self, peer: NodeId) -> None:
        """A peer is gone; what it gave that was bad is remembered."""
        self._streak.pop(peer, None)
        self._owed.pop(peer, None)
        self._doubtful.pop(peer, None)


def _most(streak: int) -> float:
    if streak < 0:
        return 1
    if streak < PROBATION:
        return 2
    return 2 * (streak - PROBATION + 2) if streak < UNLIMITED else math.inf
