"""A store of pieces in memory, for the tests of those who need no disk."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from dfedge.core.errors import Corrupt
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes


class FakeStore:
    """Behaves as the store's images do: tests/contract/test_piece_store.py holds both to one suite."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.holds = PieceMap(manifest.pieces)
        self.bytes: dict[int, bytes] = {}

    @property
    def held_bytes(self) -> int:
        return sum(len(self.bytes[piece]) for piece in self.holds)

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        if piece in self.holds:
            return Outcome.DUPLICATE
        data = b"".join(blocks)
        if not self._matches(piece, data):
            return Outcome.MISMATCH
        for twin in self.twins(piece):
            self.bytes[twin] = data
            self.holds.add(twin)
        return Outcome.STORED

    def twins(self, piece: int) -> Iterable[int]:
        where = self.manifest.piece(piece)
        for other in range(self.manifest.pieces):
            there = self.manifest.piece(other)
            if (there.digest, there.length) == (where.digest, where.length):
                yield other

    async def prove(self, piece: int) -> bool:
        return piece in self.holds

    async def recheck(self, piece: int) -> bool:
        if piece not in self.holds:
            return False
        if self._matches(piece, self.bytes[piece]):
            return True
        self.holds.discard(piece)
        return False

    def doubt(self) -> None:
        """Nothing: a piece that rots here is not noticed before a recheck."""

    def read(self, piece: int, offset: int, length: int) -> bytes:
        if piece not in self.holds:
            raise Corrupt(f"piece {piece} is not held")
        data = self.bytes[piece][offset : offset + length]
        if len(data) != length:
            raise Corrupt(f"piece {piece} has {len(self.bytes[piece]):,} bytes, not {offset + length:,}")
        return data

    def spoil(self, piece: int) -> None:
        """Let a piece rot."""
        self.bytes[piece] = b"?" + self.bytes[piece][1:]

    def _matches(self, piece: int, data: bytes) -> bool:
        where = self.manifest.piece(piece)
        return len(data) == where.length and sha256(data).digest() == where.digest
