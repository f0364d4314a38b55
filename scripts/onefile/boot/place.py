"""Where dfedge is unpacked to, once for each build: a folder that nobody but its owner can change.

Write order: all files and the mark, then they are synced, then the folder gets its name, then its parent is synced. So
a folder with the right name is whole. Who uses one holds a shared lock on its mark, and is left alone by a newer build.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MARK: Final = "ok"
NEW: Final = ".new-"
Contents = Callable[[], Mapping[str, bytes]]
_locks: list[int] = []  # held until the process ends


def bases(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Where the folder may be, best first; none of them is shared with other users for writing."""
    found = [environ.get("DFEDGE_CACHE", "")]
    found += environ.get("CACHE_DIRECTORY", "").split(":")[:1]
    if uid == 0:
        found.append("/var/cache/dfedge")
    for name, below in (("XDG_CACHE_HOME", "dfedge"), ("HOME", ".cache/dfedge")):
        if environ.get(name):
            found.append(f"{environ[name]}/{below}")
    if environ.get("RUNTIME_DIRECTORY"):
        found.append(f"{environ['RUNTIME_DIRECTORY'].split(':')[0]}/unpacked")
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(f"{environ['XDG_RUNTIME_DIR']}/dfedge-unpacked")
    return [Path(path).resolve() for path in found if path.startswith("/")]


def unpacked(places: list[Path], name: str, read: Contents) -> Path | None:
    """The folder `name` in one of the places, made if need be; None where no place takes it."""
    for base in (*places, Path("/var/cache/dfedge")):  # what root unpacked serves all
        if _usable(base / name):
            return base / name
    contents = None
    for base in places:
        if _made(base):
            contents = contents or read()
            with suppress(OSError):
                _unpack(base, name, contents)
                if _usable(base / name):
                    _prune(base, name)
                    return base / name
    return None


def safe(path: Path) -> bool:
    """Whether only we and root can change what is in this folder or put another in its place."""
    trusted = {0, os.geteuid()}
    try:
        if path.resolve() != path or not stat.S_ISDIR(path.lstat().st_mode) or path.stat().st_mode & 0o022:
            return False
        for folder in (path, *path.parents):
            status = folder.stat()
            if status.st_uid not in trusted or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
                return False
    except OSError:
        return False
    return True


def _usable(folder: Path) -> bool:
    """Whole, ours or root's, and code may be run from it. It is locked from now on."""
    if not safe(folder) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    try:
        fd = os.open(folder / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    status = os.fstat(fd)
    whole = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o022 and status.st_uid in {0, os.geteuid()}
    if not whole or os.read(fd, 256) != _mark(folder.name):
        os.close(fd)
        return False
    with suppress(OSError):  # a file system without locks: then a newer build removes it early
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    _locks.append(fd)
    return True


def _made(base: Path) -> bool:
    try:
        base.mkdir(mode=0o755, parents=True, exist_ok=True)
        return safe(base) and not os.statvfs(base).f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    except OSError:
        return False


def _unpack(base: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Raises OSError, and leaves nothing then."""
    new = base / f"{NEW}{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    with _umask(0o022):
        new.mkdir(mode=0o755)
        try:
            with _locked(new):
                for path, data in contents.items():
                    target = new / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
                (new / MARK).write_bytes(_mark(name))
                _sync(new)
                _rename(new, base / name)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _rename(new: Path, final: Path) -> None:
    """What is there already is another process's, which was quicker, or is broken and makes room."""
    try:
        new.rename(final)
    except OSError:
        if _usable(final):
            return
        aside = new.with_name(f"{new.name}-broken")
        final.rename(aside)
        new.rename(final)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _prune(base: Path, name: str) -> None:
    """Remove what older builds and killed processes left, unless somebody holds it."""
    machine = name.rpartition("-")[2]
    with os.scandir(base) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name != name]
    for folder in found:
        half_done = folder.name.startswith(NEW)
        if not half_done and not (folder.name.endswith(f"-{machine}") and (folder / MARK).is_file()):
            continue  # not ours, or of another machine that shares this home
        with suppress(OSError), _locked(folder if half_done else folder / MARK):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone on it. Raises BlockingIOError where somebody else holds it."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _sync(folder: Path) -> None:
    """The folder's whole file system at once: file by file, hundreds of them take seconds on an SD card."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
    except (ImportError, AttributeError):
        os.sync()
    finally:
        os.close(fd)


def _mark(name: str) -> bytes:
    return f"{name}\n".encode()
