"""Disk space taken before the first byte."""

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Final

KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE: space beyond the end of the file
_UNABLE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def allocate(fd: int, size: int, spans: Iterable[tuple[int, int]]) -> bool:
    """Give a file its full length, and on disk the spans (start, end) that will be written; the rest are holes.

    True says that it had its length already, so there may be bytes to save. Raises OSError, for want of space too. A
    file system that can't preallocate gets a sparse file.
    """
    before = os.fstat(fd).st_size
    if before == size:
        return before > 0
    if before > size:
        os.ftruncate(fd, size)
        return True
    try:
        for start, end in spans:
            _fallocate(fd, 0, start, end - start)
    except OSError as error:
        os.ftruncate(fd, size if error.errno in _UNABLE else before)
        if error.errno not in _UNABLE:
            raise
    os.ftruncate(fd, size)  # last: a file of this length has its space
    return before > 0


def reserve(fd: int, size: int) -> None:
    """Take the disk space that a file of `size` bytes needs, and leave its length as it is, so that it may be appended.

    Raises OSError for want of space. Where a file system can't, nothing is taken.
    """
    try:
        _fallocate(fd, KEEP_SIZE, 0, size)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise


def _fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    """fallocate(2). Not posix_fallocate: where the file system can't, glibc's writes into every block."""
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "fallocate64", None) or libc.fallocate
    while call(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
