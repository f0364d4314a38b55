"""Runs on the node, not here: `fleet deploy` sends this file over SSH to the node's own `python3 -I`, 3.11 or newer.

So it imports the standard library alone. What it says on stdout is for the operator's side, on stderr for people.
"""

import base64
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO, Final

CHUNK: Final = 1024 * 1024  # bytes
CACHE: Final = "/var/cache/dfedge"  # of a service, in which its user may unpack
NO_SPACE: Final = 28  # exit code: the disk is full
TIMEOUT: Final = 110.0  # seconds; the operator's side waits 120 s


def digest(path: str) -> str:
    """The SHA-256 of the file, `-` where there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to load on a board
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return "-"


def receive(path: str, sha256: str, source: BinaryIO) -> None:
    """Write `source` beside `path`, sync it, prove it and rename it: at `path` there is never half a file.

    The name beside is always the same, so that broken attempts do not fill the disk; its lock keeps a second
    operator out.
    """
    folder, name = os.path.split(path)
    os.umask(0o022)  # a service's user has to get at it
    os.makedirs(folder, 0o755, exist_ok=True)  # noqa: PTH103
    beside = os.path.join(folder, f".{name}.part")  # noqa: PTH118
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(beside))  # noqa: PTH116
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise SystemExit(f"{beside}: somebody else writes it just now; try again in a minute")
        try:
            file.truncate(0)
            _take(file, source, sha256, path)
            os.rename(beside, path)  # noqa: PTH104
        except BaseException:
            os.unlink(beside)  # noqa: PTH108 - a disk that it filled is not to stay full
            raise
    _sync(folder)


def _take(file: io.BufferedRandom, source: BinaryIO, sha256: str, path: str) -> None:
    shutil.copyfileobj(source, file, CHUNK)
    file.flush()
    os.fchmod(file.fileno(), 0o755)
    os.fsync(file.fileno())
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: {file.tell():,} bytes arrived that are not those that were sent")


def join(pyz: str, source: BinaryIO) -> int:
    """Write the enrolment that `source` holds (a JSON object, file name to Base64) and let dfedge join by it."""
    files = json.load(source)
    folder = tempfile.mkdtemp(prefix="dfedge-enrolment-")  # of us alone, and it holds no secret
    try:
        uid = owner()[0]
        for name, data in files.items():
            path = os.path.join(folder, os.path.basename(name))  # noqa: PTH118, PTH119
            with open(path, "xb") as file:  # noqa: PTH123
                file.write(base64.b64decode(data))
            os.chown(path, uid, -1)
        os.chown(folder, uid, -1)
        return dfedge(pyz, "join", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dfedge(pyz: str, *words: str) -> int:
    """Run dfedge as the user whose state it is: a service's own user, to whom new files in it must belong."""
    uid, gid = owner()
    environ = dict(os.environ)
    if uid != os.geteuid():
        environ |= {"DFEDGE_STATE_DIR": state(), "HOME": "/"}
        if _owner_of(CACHE, (-1, -1))[0] == uid:
            environ["CACHE_DIRECTORY"] = CACHE
    other: dict[str, Any] = {} if uid == os.geteuid() else {"user": uid, "group": gid, "extra_groups": []}
    command = [sys.executable, "-I", pyz, "--json", *words]
    return subprocess.run(command, env=environ, cwd="/", timeout=TIMEOUT, check=False, **other).returncode


def state() -> str:
    """Where dfedge keeps its state for who runs this, if root does."""
    return os.environ.get("DFEDGE_STATE_DIR") or "/var/lib/dfedge"


def owner() -> tuple[int, int]:
    """User and group whom root's state dir belongs to; without root, or where there is none yet, ourselves."""
    ourselves = os.geteuid(), os.getegid()
    return _owner_of(state(), ourselves) if ourselves[0] == 0 else ourselves


def _owner_of(path: str, missing: tuple[int, int]) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return missing
    return status.st_uid, status.st_gid


def main(words: list[str], source: BinaryIO) -> int:
    """Do one of the four."""
    try:
        match words:
            case ["digest", path]:
                sys.stdout.write(digest(path) + "\n")
            case ["receive", path, sha256]:
                receive(path, sha256, source)
            case ["join", pyz]:
                return join(pyz, source)
            case ["dfedge", pyz, *rest]:
                return dfedge(pyz, *rest)
            case _:
                raise SystemExit(f"{words}: not known here")
    except OSError as error:
        told = f"{error.filename or words[1]}: {(error.strerror or str(error)).lower()}"
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise SystemExit(told) from None
        sys.stderr.write(told + "\n")
        return NO_SPACE
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{words[1]}: did not end in {TIMEOUT:.0f} s") from None
    return 0


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer))
