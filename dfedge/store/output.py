"""Writing a stored file into a descriptor that somebody else opened. Never a hard link: a user may edit his copy."""

import errno
import fcntl
import os
from typing import Final

from anyio import from_thread

from dfedge.store.body import CHUNK, write_all

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

    Runs in a worker; a cancelled caller ends it, and `target` is of no use then.
    """
    os.ftruncate(target, 0)
    if not reflink(source, target):
        done = _copy_in_kernel(source, target, nbytes)
        while done < nbytes:
            from_thread.check_cancelled()
            data = os.pread(source, min(CHUNK, nbytes - done), done)
            if not data:
                raise OSError(errno.EIO, f"the stored file ends {nbytes - done:,} bytes early")
            write_all(target, [data], done)
            done += len(data)
    os.fsync(target)


def _copy_in_kernel(source: int, target: int, nbytes: int) -> int:
    done = 0
    while done < nbytes:
        from_thread.check_cancelled()
        try:
            taken = os.copy_file_range(source, target, min(STRETCH, nbytes - done), done, done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if taken == 0:
            return done
        done += taken
    return done
