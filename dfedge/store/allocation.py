"""Disk space taken before the first byte, and where in a file bytes were ever written."""

import errno
import os
from collections.abc import Iterator


def allocate(fd: int, size: int) -> bool:
    """Give a file its full length on disk. True says that it had it already, so there may be bytes to save.

    Raises OSError, for want of space too. A file system that can't preallocate gets a sparse file.
    """
    before = os.fstat(fd).st_size
    if before == size:
        return before > 0
    if before > size:
        os.ftruncate(fd, size)
        return True
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            os.ftruncate(fd, before)
            raise
        os.ftruncate(fd, size)
    return before > 0


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what was ever written, in bytes; all of it where the file system can't tell."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            yield end, size
            return
        yield start, min(end, size)
