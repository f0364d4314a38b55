"""Files that must never be half there or readable by others: keys, certificates, signed statements."""

import os
import stat
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from pwd import getpwuid
from secrets import token_hex
from typing import Final

from dfedge.core.errors import Corrupt, DfedgeError, NoSpace, NotFound, Refused, Untrusted

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
PRIVATE_FOLDER: Final = 0o700
MAX_FILE: Final = 1024 * 1024  # bytes; whatever this room reads is far smaller


def read(path: Path, max_bytes: int = MAX_FILE) -> bytes:
    """Read a small regular file. Raises NotFound, Refused or Corrupt."""
    return _read(path, max_bytes, private=False)


def read_private(path: Path, max_bytes: int = MAX_FILE) -> bytes:
    """Read a private key's file. Raises Untrusted if it is not ours alone, and what `read` raises."""
    return _read(path, max_bytes, private=True)


def read_if_there(path: Path, max_bytes: int = MAX_FILE) -> bytes | None:
    """Read a small file that need not exist."""
    try:
        return read(path, max_bytes)
    except NotFound:
        return None


def write(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Replace `path` by a file that holds `data`, or leave it as it was, also across a power cut.

    Raises NoSpace, Refused or Corrupt.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(6)}")
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)  # whatever the umask
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise told(error, path) from error


def make_folder(path: Path) -> None:
    """Make a folder that only we may enter, and its parents. Raises Refused, NoSpace or Corrupt."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        check_folder(path)
        sync_folder(path.parent)
    except OSError as error:
        raise told(error, path) from error


def check_folder(path: Path) -> None:
    """Raises Refused unless `path` is a real folder of ours, in which nobody else may write; NotFound."""
    try:
        status = path.lstat()
    except OSError as error:
        raise told(error, path) from error
    if not stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path}: not a folder" + (" but a link" if stat.S_ISLNK(status.st_mode) else ""))
    if status.st_uid != os.geteuid():
        raise Refused(f"{path}: belongs to uid {status.st_uid}, we are uid {os.geteuid()}", _as_its_user(status.st_uid))
    if status.st_mode & 0o022:
        raise Refused(f"{path}: mode {stat.S_IMODE(status.st_mode):04o}, others may write in it", f"chmod go-w {path}")


def _as_its_user(uid: int) -> str:
    """What to do, which is never to take the folder from its user: the service would not start again."""
    try:
        user = getpwuid(uid).pw_name
    except KeyError:
        user = f"#{uid}"
    if os.geteuid() == 0:
        return f"dfedge service status, and start its agent; or: runuser -u {user} -- dfedge …"
    return f"sudo -u {user} dfedge …"


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def told(error: OSError, path: Path) -> DfedgeError:
    """Put an error of the operating system into the words of a user."""
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotFound(f"{path}: does not exist")
    if error.errno in (ENOSPC, EDQUOT):
        return NoSpace(f"{path}: cannot be written, {reason}", f"df -h {path.parent}")
    if isinstance(error, PermissionError):
        return Refused(f"{path}: {reason} for uid {os.geteuid()}", f"ls -ld {path}")
    if isinstance(error, (FileExistsError, IsADirectoryError)):
        return Refused(f"{path}: {reason}")
    return Corrupt(f"{path}: {reason}")


def _read(path: Path, max_bytes: int, *, private: bool) -> bytes:
    try:
        # O_NONBLOCK: a pipe put in the place of the file must not stop us for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path}: not a regular file")
            if private:
                _check_private(path, status)
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise told(error, path) from error
    if len(data) > max_bytes:
        raise Corrupt(f"{path}: over {max_bytes:,} bytes")
    return data


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_mode & 0o077:
        raise Untrusted(
            f"{path}: mode {stat.S_IMODE(status.st_mode):04o}, a private key must be readable by its owner alone",
            f"chmod 600 {path}",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise Untrusted(f"{path}: belongs to uid {status.st_uid}, we are uid {os.geteuid()}")
