"""The piece map: which pieces of a manifest a node holds, a bit each."""

from collections.abc import Iterable, Iterator


class PieceMap:
    """A set of piece numbers below `count`, spelt as bits, the first piece in the highest bit (as in BEP 3)."""

    __slots__ = ("_bits", "_held", "count")

    def __init__(self, count: int, held: Iterable[int] = ()) -> None:
        self.count = count
        self._bits = bytearray((count + 7) // 8)
        self._held = 0
        for piece in held:
            self.add(piece)

    @classmethod
    def full(cls, count: int) -> "PieceMap":
        """The map of a seed."""
        return cls.decode(count, _full_bits(count))

    @classmethod
    def decode(cls, count: int, bits: bytes) -> "PieceMap":
        """Read a map of `count` pieces. Raises ValueError for another length or a bit beyond the last piece."""
        if len(bits) != (count + 7) // 8:
            raise ValueError(f"a piece map of {len(bits):,} bytes for {count:,} pieces")
        if count % 8 and bits[-1] & (0xFF >> count % 8):
            raise ValueError("a piece map with a bit beyond the last piece")
        made = cls(count)
        made._bits[:] = bits
        made._held = int.from_bytes(bits, "big").bit_count()
        return made

    def encode(self) -> bytes:
        """Spell the map."""
        return bytes(self._bits)

    def add(self, piece: int) -> None:
        """Mark a piece as held. Raises IndexError beyond the last piece."""
        if not 0 <= piece < self.count:
            raise IndexError(f"piece {piece} of {self.count}")
        if piece not in self:
            self._bits[piece >> 3] |= 0x80 >> (piece & 7)
            self._held += 1

    def add_all(self, pieces: Iterable[int]) -> list[int]:
        """Mark these as held; returns those that were not. One call where `add` would be one a piece."""
        bits, count, news = self._bits, self.count, []
        for piece in pieces:
            if not 0 <= piece < count:
                raise IndexError(f"piece {piece} of {count}")
            bit = 0x80 >> (piece & 7)
            if not bits[piece >> 3] & bit:
                bits[piece >> 3] |= bit
                self._held += 1
                news.append(piece)
        return news

    def lacking(self, pieces: Iterable[int]) -> list[int]:
        """Those of these pieces that are not held."""
        bits = self._bits
        return [piece for piece in pieces if not bits[piece >> 3] & (0x80 >> (piece & 7))]

    def discard(self, piece: int) -> None:
        """Mark a piece as not held."""
        if piece in self:
            self._bits[piece >> 3] &= ~(0x80 >> (piece & 7)) & 0xFF
            self._held -= 1

    def __contains__(self, piece: int) -> bool:
        return 0 <= piece < self.count and bool(self._bits[piece >> 3] & (0x80 >> (piece & 7)))

    def __len__(self) -> int:
        """How many pieces are held."""
        return self._held

    def __iter__(self) -> Iterator[int]:
        return (piece for piece in range(self.count) if piece in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PieceMap) and self.count == other.count and self._bits == other._bits

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"PieceMap({self._held} of {self.count})"

    @property
    def complete(self) -> bool:
        """Whether every piece is held."""
        return self._held == self.count

    def missing(self) -> Iterator[int]:
        """The pieces not held, in order."""
        return (piece for piece in range(self.count) if piece not in self)

    def copy(self) -> "PieceMap":
        """A map of its own with the same pieces."""
        return PieceMap.decode(self.count, self.encode())


def _full_bits(count: int) -> bytes:
    bits = bytearray(b"\xff" * ((count + 7) // 8))
    if count % 8:
        bits[-1] = 0xFF << (8 - count % 8) & 0xFF
    return bytes(bits)
