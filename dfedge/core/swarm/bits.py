"""Walk the set bits of a piece map at the speed of C: the numbers of the pieces in it."""

import re
from collections.abc import Iterator
from typing import Final

_SET: Final = re.compile(rb"[^\x00]")
_PLACES: Final = tuple(tuple(bit for bit in range(8) if byte & (0x80 >> bit)) for byte in range(256))


def pieces_in(bits: bytes | bytearray, start: int = 0) -> Iterator[int]:
    """The pieces of a map in order, from the byte of piece `start` on."""
    for match in _SET.finditer(bits, start >> 3):
        at = match.start()
        base = at << 3
        for place in _PLACES[bits[at]]:
            yield base + place


def both(left: bytes | bytearray, right: bytes | bytearray) -> bytes:
    """The pieces in both maps, which are of one length."""
    return (int.from_bytes(left, "big") & int.from_bytes(right, "big")).to_bytes(len(left), "big")


def either(left: bytes | bytearray, right: bytes | bytearray) -> bytes:
    """The pieces in any of two maps of one length."""
    return (int.from_bytes(left, "big") | int.from_bytes(right, "big")).to_bytes(len(left), "big")


def without(left: bytes | bytearray, right: bytes | bytearray) -> bytes:
    """The pieces in the first map and not in the second, of one length."""
    return (int.from_bytes(left, "big") & ~int.from_bytes(right, "big")).to_bytes(len(left), "big")


def how_many(bits: bytes | bytearray) -> int:
    """How many pieces a map holds."""
    return int.from_bytes(bits, "big").bit_count()
