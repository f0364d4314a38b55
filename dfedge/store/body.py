"""One distinct file of an image, and the reading, hashing and writing of ranges of a file."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from mmap import PAGESIZE
from typing import Final, TypeVar

from anyio import from_thread

from dfedge.core.seams import Bytes
from dfedge.store.early import EarlyWriting
from dfedge.store.hole import CHUNK, data_from, zero_digest, zeros
from dfedge.store.prefix import Prefix

MOST_VECTORS: Final = 512  # blocks in one write; the kernel takes 1,024

T = TypeVar("T")


class Body:
    """One distinct file of an image. Files of one digest share it, whatever their paths."""

    __slots__ = (
        "copies",
        "digest",
        "early",
        "label",
        "prefix",
        "size",
        "suspect",
        "whole",
    )

    def __init__(self, digest: bytes, size: int, label: str) -> None:
        self.digest = digest
        self.size = size  # bytes
        self.label = label  # the path of its first file
        self.early = EarlyWriting()
        self.copies: list[range] = []  # the pieces of each file that has these bytes
        self.whole = False  # it is a blob
        self.suspect = False  # an fsync of it failed: what the cache shows may not be what the disk has
        self.prefix = Prefix()

    def matches(self, fd: int) -> bool:
        """Hash what of the file was not hashed while it arrived, and compare. Runs in a worker."""
        digest = self.prefix.digest(lambda offset: while_wanted(chunks(fd, offset, self.size - offset)))
        return self.prefix.nbytes == self.size == os.fstat(fd).st_size and digest == self.digest

    def pieces(self) -> Iterator[int]:
        """The pieces of all its copies."""
        return (piece for copy in self.copies for piece in copy)


def chunks(fd: int, offset: int, length: int) -> Iterator[Bytes]:
    """Read a range bit by bit, holes without reading; it ends early where the file does."""
    end = offset + length
    while offset < end:
        data_at = data_from(fd, offset, end)
        yield from zeros(data_at - offset)
        offset = data_at
        if offset < end:
            data = os.pread(fd, min(CHUNK, end - offset), offset)
            if not data:
                return
            yield data
            offset += len(data)


def while_wanted(parts: Iterable[T]) -> Iterator[T]:
    """Go through the parts of a long job in `Shared.work`; it ends where its caller was cancelled."""
    for part in parts:
        from_thread.check_cancelled()
        yield part


def hash_range(fd: int, offset: int, length: int) -> bytes:
    """SHA-256 of a range."""
    if length and data_from(fd, offset, offset + length) == offset + length:
        return zero_digest(length)
    digest = hashlib.sha256()
    for data in chunks(fd, offset, length):
        digest.update(data)
    return digest.digest()


def hash_cold(fd: int, offset: int, length: int) -> bytes:
    """SHA-256 of a range as the disk has it, not the page cache; nothing of it stays in the cache."""
    first = offset - offset % PAGESIZE
    whole = -(-(offset + length) // PAGESIZE) * PAGESIZE - first
    os.posix_fadvise(fd, first, whole, os.POSIX_FADV_DONTNEED)
    digest = hash_range(fd, offset, length)
    os.posix_fadvise(fd, first, whole, os.POSIX_FADV_DONTNEED)
    return digest


def write_all(fd: int, blocks: Sequence[Bytes], offset: int) -> None:
    """Write blocks one after the other from `offset` on, however little the kernel takes at once."""
    left = [memoryview(block) for block in blocks if block]
    while left:
        taken = os.pwritev(fd, left[:MOST_VECTORS], offset)
        if taken == 0:
            raise OSError(errno.EIO, "the disk takes no more bytes")
        offset += taken
        whole = 0
        while whole < len(left) and taken >= len(left[whole]):
            taken -= len(left[whole])
            whole += 1
        del left[:whole]
        if taken:
            left[0] = left[0][taken:]


def forget_cache(fd: int) -> None:
    """Have the kernel read this file from disk the next time, not from memory."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
