"""One agent per state folder: a lock that the kernel drops when its holder dies."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from dfedge.core.errors import Busy, Refused


class StateLock:
    """Holds `path` locked, with our pid in it, until `release`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path) -> "StateLock":
        """Take the lock. Raises Busy that names the holder's pid; a file left by a dead process is no obstacle."""
        try:
            fd = _open(path)
        except OSError as error:
            raise Refused(f"{path}: can't be opened: {error.strerror}", hint=f"ls -l {path}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Busy(
                f"{path.parent}: an agent with pid {holder} already runs on this state dir", hint="dfedge status"
            ) from None
        except OSError as error:
            os.close(fd)
            raise Refused(f"{path}: can't be locked: {error.strerror}") from error
        with suppress(OSError):  # on a full disk the lock holds all the same, without our name
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        return cls(fd)

    def release(self) -> None:
        """Let the next agent in. The file stays: to unlink it would race with one who waits for it."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)  # what is here can be served all the same
