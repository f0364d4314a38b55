"""What `publish` sends: the files of a folder or a description, each judged by name before anything is sent."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import NotFound, Refused
from dfedge.core.image.manifest import MAX_FILES
from dfedge.core.image.name import check_no_clash, check_path

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make us wait


@dataclass(frozen=True, slots=True)
class Source:
    """One file as it was when it was found; what has changed since is not published."""

    path: str  # inside the image
    place: Path
    size: int  # bytes
    mode: int
    identity: tuple[int, int, int, int]  # device, inode, size, mtime in ns

    def open(self) -> int:
        """Open it for the agent; the caller closes it. Raises Refused if it is no longer the file that was found."""
        try:
            fd = os.open(self.place, _READ)
        except OSError as error:
            raise Refused(f"{self.place}: {(error.strerror or str(error)).lower()}") from None
        if _identity(os.fstat(fd)) != self.identity:
            os.close(fd)
            raise Refused(
                f"{self.place}: it changed while it was being published", "publish a copy that nobody writes to"
            )
        return fd


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def of_path(path: Path) -> list[Source]:
    """The files at `path`, sorted: itself under its base name, or all below it. Raises NotFound or Refused."""
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    if path.is_dir():
        sources = list(_walk(path, ""))
        if not sources:
            raise Refused(f"{path}: the folder holds no files")
        return _checked(sources, path)
    return of_files([(path.absolute().name, path.resolve())], path)


def of_files(files: Iterable[tuple[str, Path]], subject: Path) -> list[Source]:
    """Files under chosen names. Raises Refused."""
    return _checked([_source(inside, place, place.lstat()) for inside, place in files], subject)


def _walk(folder: Path, prefix: str) -> Iterator[Source]:
    """Sorted by name; whatever an image can't carry is refused by name rather than left out."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Refused(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    if not found and prefix:
        raise Refused(f"{folder}: an empty folder can't be part of an image", f"rmdir {folder}")
    for entry in found:
        inside, place = prefix + entry.name, folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(place, inside + "/")
        else:
            yield _source(inside, place, entry.stat(follow_symlinks=False))


def _source(inside: str, place: Path, status: os.stat_result) -> Source:
    shown = _shown(place)
    if stat.S_ISLNK(status.st_mode):
        raise Refused(f"{shown}: a symbolic link can't be part of an image; put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown}: it is a device, pipe or socket; only files can be part of an image")
    if not os.access(place, os.R_OK):
        raise Refused(f"{shown}: we may not read it")
    try:
        check_path(inside)
    except ValueError as error:
        raise Refused(f"{shown}: {error}") from None
    return Source(inside, place, status.st_size, stat.S_IMODE(status.st_mode) & 0o777, _identity(status))


def _checked(sources: list[Source], subject: Path) -> list[Source]:
    if len(sources) > MAX_FILES:
        raise Refused(f"{subject}: {len(sources):,} files, the most is {MAX_FILES:,}")
    try:
        check_no_clash(source.path for source in sources)
    except ValueError as error:
        raise Refused(f"{subject}: {error}") from None
    return sources


def _shown(place: Path) -> str:
    """A name may hold what no terminal should be sent."""
    text = str(place)
    return text if text.isprintable() else ascii(text)
