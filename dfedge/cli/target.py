"""Where `get -o` writes: judged before the first byte is fetched, never through a link, whole or not at all.

A file is written beside its place under another name, synced, and renamed, so that nobody ever sees half of it.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from dfedge.core.errors import Corrupt, NoSpace, NotFound, Refused, UsageError
from dfedge.core.image.name import check_no_clash, check_path
from dfedge.core.units import size

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Fill = Callable[[int, int], None]
"""Put file number `n` of the image into a descriptor."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of the image, as the agent lists it."""

    path: str
    size: int  # bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Target:
    """The place a user named: a file, or a folder that takes the image's paths."""

    path: Path
    folder: bool
    force: bool
    umask: int
    command: str  # how to ask again, for hints
    state: Path  # where the store is

    @classmethod
    def choose(cls, text: str, ref: str, state: Path, *, force: bool) -> "Target":
        """Judge it, for the image `ref` of the store at `state`. Raises Refused or NotFound if none can be written."""
        if text == "-":
            raise UsageError(
                "get: -o - is not supported, what is not yet whole must not flow on", "dfedge get REF -o FILE"
            )
        path = Path(text)
        command = f"dfedge get {ref} -o {text}"
        mask = os.umask(0o077)
        os.umask(mask)
        if path.is_dir() or text.endswith("/"):
            _check_writable(next(p for p in (path, *path.absolute().parents) if p.exists()))
            return cls(path, True, force, mask, command, state)
        if not path.parent.is_dir():
            raise NotFound(f"{path}: the folder {path.parent} does not exist", f"mkdir -p {path.parent}")
        _check_writable(path.parent)
        _check_free(os.lstat(path) if os.path.lexists(path) else None, path, force, command)
        return cls(path, False, force, mask, command, state)

    def check_room(self, label: str, nbytes: int) -> None:
        """Raises NoSpace where an image of so many bytes can't be written there; asked before it is fetched."""
        place = next(path for path in (self.path, *self.path.absolute().parents) if path.is_dir())
        folder = os.open(place, _FOLDER)
        try:
            _check_room(folder, self.state, place, label, nbytes)
        finally:
            os.close(folder)

    def write(self, files: Sequence[Wanted], label: str, fill: Fill) -> list[Path]:
        """Write the image's files and return where they are. Raises Refused, NoSpace or Corrupt."""
        if not self.folder:
            if len(files) != 1:
                raise Refused(
                    f"{self.path}: {label} has {len(files):,} files; give a folder", f"dfedge get {label} -o DIR/"
                )
            files = [Wanted(self.path.name, files[0].size, files[0].mode)]
        try:
            for wanted in files:
                check_path(wanted.path)
            check_no_clash(wanted.path for wanted in files)
        except ValueError as error:
            if self.folder:
                raise Refused(f"{label}: {error}") from None
        if self.folder:
            self.path.mkdir(parents=True, exist_ok=True)
        root = os.open(self.path if self.folder else self.path.parent, _FOLDER)
        try:
            return self._write(root, files, label, fill)
        finally:
            os.close(root)

    def _write(self, root: int, files: Sequence[Wanted], label: str, fill: Fill) -> list[Path]:
        base = self.path if self.folder else self.path.parent
        for wanted in files:
            with _parent(root, base, wanted.path, create=False) as (folder, name):
                _check_free(_lstat(folder, name), base / wanted.path, self.force, self.command)
        _check_room(root, self.state, base, label, sum(wanted.size for wanted in files))
        written = []
        for index, wanted in enumerate(files):
            with _parent(root, base, wanted.path, create=True) as (folder, name):
                assert folder is not None
                self._write_one(folder, name, index, wanted, fill)
            written.append(base / wanted.path)
        return written

    def _write_one(self, folder: int, name: str, index: int, wanted: Wanted, fill: Fill) -> None:
        place = self.path / wanted.path if self.folder else self.path
        temporary = f".dfedge-{os.urandom(8).hex()}.part"
        fd = os.open(temporary, _NEW, 0o600, dir_fd=folder)
        try:
            fill(index, fd)
            if os.fstat(fd).st_size != wanted.size:
                raise Corrupt(f"{place}: {os.fstat(fd).st_size:,} bytes were written, {wanted.size:,} are right")
            os.fchmod(fd, wanted.mode & 0o777 & ~self.umask or 0o600)
            os.fsync(fd)
            _check_free(_lstat(folder, name), place, self.force, self.command)  # it may have appeared meanwhile
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        finally:
            os.close(fd)
        os.fsync(folder)


@contextmanager
def _parent(root: int, base: Path, path: str, *, create: bool) -> Iterator[tuple[int | None, str]]:
    """Open the folder that holds `path` below `root`, link by link refused; None where it is not there yet."""
    parts = PurePosixPath(path).parts
    folder: int | None = os.dup(root)
    try:
        for depth, part in enumerate(parts[:-1], 1):
            assert folder is not None
            inner = _step(folder, part, base / "/".join(parts[:depth]), create=create)
            os.close(folder)
            folder = inner
            if folder is None:
                break
        yield folder, parts[-1]
    finally:
        if folder is not None:
            os.close(folder)


def _step(folder: int, part: str, place: Path, *, create: bool) -> int | None:
    if create:
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=folder)
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    except (NotADirectoryError, OSError) as error:
        if isinstance(error, PermissionError):
            raise Refused(f"{place}: we may not write into it") from None
        raise Refused(f"{place}: it is there and is not a folder (links are not followed)") from None


def _lstat(folder: int | None, name: str) -> os.stat_result | None:
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _check_room(folder: int, state: Path, place: Path, label: str, nbytes: int) -> None:
    free = os.fstatvfs(folder)
    available = free.f_bavail * free.f_frsize
    if nbytes > available and not _shares_blocks(folder, state):
        raise NoSpace(f"{place}: {label} needs {size(nbytes)}, {size(available)} is free", f"df -h {place}")


def _shares_blocks(folder: int, state: Path) -> bool:
    """Whether an output there shares the bytes of the file in the store, so that it takes none."""
    from dfedge.store.output import reflink

    try:
        if state.stat().st_dev != os.fstat(folder).st_dev:
            return False
        here = f"/proc/self/fd/{folder}"
        with tempfile.TemporaryFile(dir=here) as one, tempfile.TemporaryFile(dir=here) as other:
            return reflink(one.fileno(), other.fileno())
    except OSError:
        return False


def _check_free(found: os.stat_result | None, place: Path, force: bool, command: str) -> None:
    """Only a file or a link may be replaced, and only with --force; a link itself, never what it points to."""
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        raise Refused(f"{place}: it is a folder")
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise Refused(f"{place}: it is a device, pipe or socket; only files are written")
    if not force:
        raise Refused(f"{place}: it exists, {size(found.st_size)}", f"{command} --force")


def _check_writable(folder: Path) -> None:
    if not folder.is_dir():
        raise Refused(f"{folder}: it is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        status = folder.stat()
        why = f"mode {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid}, we are user {os.geteuid()}"
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            why = "the file system is read-only"
        raise Refused(f"{folder}: we may not write there ({why})")
