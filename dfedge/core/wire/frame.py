"""The bulk channel's frame: a fixed header, then raw bytes. Requests and blocks go both ways.

type u8 · flags u8 (0) · handle u16 · request u32 · piece u32 · offset u32 · length u32, big-endian: 20 bytes.
A REQUEST carries the asker's handle of the image and no body; its BLOCK repeats the numbers and carries `length` bytes;
a REJECT repeats them and carries none.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dfedge.core.errors import ProtocolError
from dfedge.core.image.manifest import MAX_PIECE

MAX_BLOCK: Final = 256 * 1024  # bytes; one SSH packet
_HEADER: Final = struct.Struct(">BBHIIII")
HEADER: Final = _HEADER.size


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    BLOCK = 2
    REJECT = 3


_KINDS: Final = {int(kind): kind for kind in Kind}  # quicker than asking the enum


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header. `offset` and `length` are bytes within the piece. Raises ValueError out of range."""

    kind: Kind
    handle: int
    request: int
    piece: int
    offset: int
    length: int

    def __post_init__(self) -> None:
        if not 0 < self.length <= MAX_BLOCK or self.offset + self.length > MAX_PIECE:
            raise ValueError(f"block of {self.length:,} bytes at {self.offset:,}")

    def encode(self) -> bytes:
        """Spell the header."""
        return _HEADER.pack(self.kind, 0, self.handle, self.request, self.piece, self.offset, self.length)

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> "Frame":
        """Read a header of 20 bytes. Raises ProtocolError and nothing else."""
        try:
            kind, flags, handle, request, piece, offset, length = _HEADER.unpack(data)
            if flags:
                raise ValueError(f"flags {flags:#x}")
            if kind not in _KINDS:
                raise ValueError(f"{kind} is not a valid Kind")
            return cls(_KINDS[kind], handle, request, piece, offset, length)
        except (ValueError, struct.error) as error:
            raise ProtocolError(f"not a frame ({error}): {bytes(data[:HEADER]).hex()}") from error
