"""The journal of a partial image: which pieces are on disk for good.

Header: magic (8 bytes) · image id (32) · piece count u32 · CRC-32 of these u32. Then records: piece u32 · CRC-32 of
image id and piece u32. Big-endian. A record is written only after the piece's bytes are synced, so a record that holds
is believed; whatever is torn or broken means that those pieces are hashed again.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from dfedge.core.seams import ImageId
from dfedge.store.allocation import reserve
from dfedge.store.layout import sync_folder, write_synced

MAGIC: Final = b"dfjrnl1\n"
_HEADER: Final = struct.Struct(">8s32sI")
_U32: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">II")
HEADER: Final = _HEADER.size + _U32.size  # bytes
RECORD: Final = _RECORD.size  # bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal says. `intact` is false where anything in it was not as written; `length` is its good bytes."""

    pieces: frozenset[int]
    intact: bool
    length: int


def encode_header(image: ImageId, count: int) -> bytes:
    """Spell the header of the journal of an image with `count` pieces."""
    head = _HEADER.pack(MAGIC, image, count)
    return head + _U32.pack(crc32(head))


def encode_records(image: ImageId, pieces: Iterable[int]) -> bytes:
    """Spell a record for each piece."""
    salt = crc32(image)
    return b"".join(_RECORD.pack(piece, crc32(_U32.pack(piece), salt)) for piece in pieces)


def decode(data: bytes, image: ImageId, count: int) -> Reading:
    """Read a journal, whatever the bytes. Reading ends at the first record that does not hold."""
    if data[:HEADER] != encode_header(image, count):
        return Reading(frozenset(), intact=False, length=0)
    salt = crc32(image)
    pieces = set()
    end = HEADER
    while end + RECORD <= len(data):
        piece, check = _RECORD.unpack_from(data, end)
        if piece >= count or check != crc32(_U32.pack(piece), salt):
            break
        pieces.add(piece)
        end += RECORD
    return Reading(frozenset(pieces), intact=end == len(data), length=end)


class Journal:
    """The journal file of one partial image. Raises OSError where the disk fails."""

    def __init__(self, path: Path, image: ImageId, count: int) -> None:
        self._path = path
        self._image = image
        self._count = count

    def exists(self) -> bool:
        """Whether a fetch of this image was begun."""
        return self._path.exists()

    def read(self) -> frozenset[int]:
        """The pieces it vouches for; cuts a torn tail, and starts anew where the header is broken or missing."""
        limit = HEADER + 4 * RECORD * self._count  # a piece may be lost and found again, but not for ever
        try:
            with self._path.open("rb") as file:
                reading = decode(file.read(limit), self._image, self._count)
        except FileNotFoundError:
            reading = Reading(frozenset(), intact=False, length=0)
        if not reading.intact:
            self.rewrite(reading.pieces)
        return reading.pieces

    def append(self, pieces: Iterable[int]) -> None:
        """Record pieces whose bytes are already synced, and sync the records."""
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        before = os.fstat(fd).st_size
        try:
            view = memoryview(encode_records(self._image, pieces))
            while view:
                view = view[os.write(fd, view) :]
            os.fdatasync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, before)  # half a record would hide those after it
            raise
        finally:
            os.close(fd)

    def rewrite(self, pieces: Iterable[int]) -> None:
        """Replace all records, at once or not at all."""
        data = encode_header(self._image, self._count) + encode_records(self._image, sorted(pieces))
        write_synced(self._path, data)
        self._reserve()
        sync_folder(self._path.parent)

    def _reserve(self) -> None:
        """Take the room of all records to come, so that a disk which fills up meanwhile does not stop the fetch."""
        with suppress(OSError):  # then a record to come may find none
            fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                reserve(fd, HEADER + RECORD * self._count)
            finally:
                os.close(fd)
