"""How rare each piece is among our peers, and the pieces still to be asked for, in buckets by rarity.

A bucket is a bitmap, so "the rarest piece this peer shows" is an AND of two maps and no scan over pieces; a piece
changes its bucket in two bit flips. Three bytes a piece in all.
"""

from array import array
from collections.abc import Iterable
from itertools import chain, takewhile
from random import Random
from typing import Final

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.swarm.bits import both, pieces_in

_MOST: Final = 11  # copies; above it nothing is rare
_BUCKET: Final = (0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6, 7)  # by copies; fine where it matters
BUCKETS: Final = 8


class Rarity:
    """Copies of each piece that peers show, and which pieces are wanted: missing, and asked of nobody."""

    __slots__ = ("_buckets", "_copies", "count", "everywhere", "wanted")

    def __init__(self, holds: PieceMap) -> None:
        self.count = holds.count
        self.everywhere = 0  # peers that showed everything when they joined: counted once, not a piece at a time
        self.wanted = 0  # how many
        self._copies = array("h", bytes(2 * holds.count))
        self._buckets = [bytearray((holds.count + 7) // 8) for _ in range(BUCKETS)]
        for piece in holds.missing():
            self.want(piece)

    def copies(self, piece: int) -> int:
        """How many peers show the piece."""
        return self._copies[piece] + self.everywhere

    def seen(self, piece: int) -> int:
        """The same without the peers that showed everything when they joined: copies that came of what seeds gave."""
        return self._copies[piece]

    def is_wanted(self, piece: int) -> bool:
        return bool(self._bucket(piece)[piece >> 3] & (0x80 >> (piece & 7)))

    def want(self, piece: int) -> None:
        """The piece is missing and nobody owes it."""
        bucket = self._bucket(piece)
        bit = 0x80 >> (piece & 7)
        if not bucket[piece >> 3] & bit:
            bucket[piece >> 3] |= bit
            self.wanted += 1

    def unwant(self, piece: int) -> None:
        """The piece is asked for, or held."""
        bucket = self._bucket(piece)
        bit = 0x80 >> (piece & 7)
        if bucket[piece >> 3] & bit:
            bucket[piece >> 3] ^= bit
            self.wanted -= 1

    def more(self, piece: int) -> None:
        """One more peer shows the piece."""
        self._move(piece, 1)

    def fewer(self, piece: int) -> None:
        """One peer fewer shows the piece."""
        self._move(piece, -1)

    def more_of(self, shown: bytes) -> None:
        """One more peer shows all these."""
        self.more_each(pieces_in(shown))

    def more_each(self, pieces: Iterable[int]) -> None:
        """One more peer shows each of these. It runs for every piece that any peer gets: no call inside."""
        copies, buckets = self._copies, self._buckets
        for piece in pieces:
            had = copies[piece]
            copies[piece] = had + 1
            if 0 <= had < _MOST:
                old, new = _BUCKET[had], _BUCKET[had + 1]
                bit = 0x80 >> (piece & 7)
                if old != new and buckets[old][piece >> 3] & bit:
                    buckets[old][piece >> 3] ^= bit
                    buckets[new][piece >> 3] |= bit

    def pick(self, shown: bytes, rng: Random) -> int | None:
        """One wanted piece of a peer's map, of the rarest bucket, the first from a random place."""
        theirs = int.from_bytes(shown, "big")
        for bucket in self._buckets:
            useful = theirs & int.from_bytes(bucket, "big")
            if useful:
                size = 8 * len(shown)
                place = int(rng.random() * size)
                above = useful >> place << place or useful
                return size - (above & -above).bit_length()
        return None

    def rarest(self, shown: bytes, most: int, rng: Random) -> list[int]:
        """Up to `most` wanted pieces of a peer's map, the rarest buckets first, from a random place in each."""
        found: list[int] = []
        start = rng.randrange(self.count) & ~7
        for bucket in self._buckets:
            useful = both(shown, bucket)
            for piece in chain(pieces_in(useful, start), takewhile(lambda each: each < start, pieces_in(useful))):
                found.append(piece)
                if len(found) >= most:
                    return found
        return found

    def _bucket(self, piece: int) -> bytearray:
        copies = self._copies[piece]
        return self._buckets[_BUCKET[copies] if 0 <= copies < _MOST else (0 if copies < 0 else BUCKETS - 1)]

    def _move(self, piece: int, step: int) -> None:
        old = self._bucket(piece)
        self._copies[piece] += step
        new = self._bucket(piece)
        bit = 0x80 >> (piece & 7)
        if old is not new and old[piece >> 3] & bit:
            old[piece >> 3] ^= bit
            new[piece >> 3] |= bit
