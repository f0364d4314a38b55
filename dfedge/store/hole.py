"""Holes: runs of zeros that take no room on disk. They are neither read nor written, and what they hash to is known.

Where a file system can't tell, all is data: that costs time, and is right too.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from dfedge.core.image.manifest import DIGEST, FileEntry

CHUNK: Final = 1024 * 1024  # bytes read at once while hashing
ZEROS: Final = bytes(CHUNK)


def data_from(fd: int, offset: int, end: int) -> int:
    """Where the first byte at or after `offset` lies that was ever written; `end` where there is none before it.

    It never passes the end of the file: what was cut off is no hole.
    """
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole from here on, or nothing at all
            return max(offset, min(end, os.fstat(fd).st_size))
        return offset


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what was ever written, in bytes; all of it where the file system can't tell."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            if start >= size:
                return
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            yield end, size
            return
        yield start, min(end, size)


def zeros(length: int) -> Iterator[memoryview]:
    """So many zeros, in parts that share one buffer."""
    while length > 0:
        part = memoryview(ZEROS)[:length]
        yield part
        length -= len(part)


def is_blank(data: bytes | bytearray | memoryview) -> bool:
    """Whether at most CHUNK bytes are all zeros; of other bytes it seldom looks at more than the first."""
    return ZEROS.startswith(data)


@lru_cache(maxsize=16)
def zero_digest(length: int) -> bytes:
    """SHA-256 of so many zeros."""
    digest = hashlib.sha256()
    for part in zeros(length):
        digest.update(part)
    return digest.digest()


def blank_pieces(entry: FileEntry) -> Iterator[int]:
    """The pieces of a file, from 0, whose digest says that they are zeros: nobody need send them.

    It looks only at lengths that come several times in a row, so that zeros are not hashed for each of many lengths.
    """
    first = 0
    for length, times in entry.runs:
        if times > 1:
            blank = zero_digest(length)
            for piece in range(first, first + times):
                if entry.digests[piece * DIGEST : (piece + 1) * DIGEST] == blank:
                    yield piece
        first += times


def filled_spans(entry: FileEntry) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of all bytes of a file that are not in blank pieces; what lies side by side is one."""
    blank = frozenset(blank_pieces(entry))
    start = offset = piece = 0
    for length, times in entry.runs:
        for _ in range(times):
            if piece in blank:
                if start < offset:
                    yield start, offset
                start = offset + length
            offset += length
            piece += 1
    if start < offset:
        yield start, offset
