"""Parts of a bundle as open files: written in order and synced, read record by record without believing any of it."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, Refused
from dfedge.core.image.bundle import LENGTH, MAGIC, MAX_HEADER, RECORD, Kind, PartHeader, read_record
from dfedge.core.seams import Bytes
from dfedge.store.body import write_all

SYNC_EVERY: Final = 32 * 1024 * 1024  # bytes; a slow stick must not hold all of the page cache


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece lies: its number in the image, and offset and length of its bytes in the part."""

    piece: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record that was read whole. Of a piece `payload` is its bytes alone."""

    kind: Kind
    payload: bytes
    piece: int = 0


def open_regular(path: Path) -> int | None:
    """Open a part to read it; none where it is not there. Raises Refused for links, devices, pipes and folders."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{path}: is a link; name the file itself") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(f"{path}: is not a regular file")
    return fd


class PartWriter:
    """Writes one part into a descriptor, which it closes. Its methods raise OSError; run them in a worker."""

    def __init__(self, fd: int, header: PartHeader) -> None:
        self._fd = fd
        self.size = 0  # bytes
        self._synced = 0
        os.ftruncate(fd, 0)
        self._put([header.encode()])

    def room_after(self, payload: int, most: int) -> bool:
        """Whether a record of so many bytes fits, and the one that ends the part."""
        return self.size + 2 * RECORD.size + payload <= most

    def add(self, kind: Kind, *payload: Bytes) -> None:
        """Write a record."""
        self._put([RECORD.pack(kind, sum(map(len, payload))), *payload])
        if self.size - self._synced > SYNC_EVERY:
            os.fdatasync(self._fd)
            os.posix_fadvise(self._fd, 0, self.size, os.POSIX_FADV_DONTNEED)
            self._synced = self.size

    def _put(self, blocks: list[Bytes]) -> None:
        write_all(self._fd, blocks, self.size)
        self.size += sum(map(len, blocks))

    def end(self) -> None:
        """Make it last."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class PartReader:
    """Reads one part from a descriptor, which it closes. Run its methods in a worker."""

    def __init__(self, fd: int, label: str) -> None:
        """Raises Refused for what is no regular file, Corrupt for what is no bundle, OSError."""
        self.fd = fd
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{label}: is not a regular file")
        self._size = found.st_size
        self._at = 0
        try:
            if self._take(len(MAGIC)) != MAGIC:
                raise ValueError("not a bundle")
            (length,) = LENGTH.unpack(self._take(LENGTH.size))
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length:,} bytes, the most is {MAX_HEADER:,}")
            self.header = PartHeader.decode(self._take(length))
        except EOFError:
            raise Corrupt(f"{label}: ends before it begins") from None
        except ValueError as error:
            raise Corrupt(f"{label}: {error}") from None

    def next(self, wants: Callable[[Place], bool]) -> Record:
        """Read the next record; pieces that nobody `wants` are passed over unread.

        Raises EOFError where the file ends in the middle, ValueError where it is no record, OSError.
        """
        while True:
            kind, length = read_record(self._take(RECORD.size))
            if length > self._size - self._at:
                raise EOFError
            if kind is not Kind.PIECE:
                return Record(kind, self._take(length))
            (piece,) = LENGTH.unpack(self._take(LENGTH.size))
            place = Place(piece, self._at, length - LENGTH.size)
            if wants(place):
                return Record(kind, self._take(place.length), piece)
            self._at += place.length

    def _take(self, length: int) -> bytes:
        data = os.pread(self.fd, length, self._at)
        while len(data) < length:
            more = os.pread(self.fd, length - len(data), self._at + len(data))
            if not more:
                raise EOFError
            data += more
        self._at += length
        return data

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
