"""Writing a stored file into a descriptor that somebody else opened. Never a hard link: a user may edit his copy."""

import errno
import fcntl
import os
from typing import Final

from anyio import from_thread

from dfedge.store.body import write_all
from dfedge.store.hole import CHUNK, data_extents

FICLONE: Final = 0x40049409  # <linux/fs.h>
STRETCH: Final = 8 * 1024 * 1024  # bytes copied between two looks at whether anybody still waits
_CANNOT: Final = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ETXTBSY, errno.EBADF, errno.EPERM)


def reflink(source: int, target: int) -> bool:
    """Let `target` share the blocks of `source`; false where the file systems can't."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def copy_out(source: int, target: int, nbytes: int) -> None:
    """Make `target` hold the first `nbytes` of `source` and nothing else, by the cheapest way; synced. Raises OSError.

    Holes stay holes. Runs in a worker; a cancelled caller ends it, and `target` is of no use then.
    """
    lacking = nbytes - os.fstat(source).st_size
    if lacking > 0:
        raise OSError(errno.EIO, f"the stored file ends {lacking:,} bytes early")
    os.ftruncate(target, 0)
    if not reflink(source, target):
        for start, end in data_extents(source, nbytes):
            _copy(source, target, start, end)
    os.ftruncate(target, nbytes)
    os.fsync(target)


def _copy(source: int, target: int, start: int, end: int) -> None:
    done = _copy_in_kernel(source, target, start, end)
    while done < end:
        from_thread.check_cancelled()
        data = os.pread(source, min(CHUNK, end - done), done)
        if not data:
            raise OSError(errno.EIO, f"the stored file ends {end - done:,} bytes early")
        write_all(target, [data], done)
        done += len(data)


def _copy_in_kernel(source: int, target: int, start: int, end: int) -> int:
    """Copy a range; returns how far it came, before the end where the file systems can't."""
    done = start
    while done < end:
        from_thread.check_cancelled()
        try:
            taken = os.copy_file_range(source, target, min(STRETCH, end - done), done, done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if taken == 0:
            return done
        done += taken
    return done
