"""The files of a bundle, as a user names them: a folder, or the first part; the others lie beside it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dfedge.core.canonical import unpack
from dfedge.core.errors import Corrupt, NotFound
from dfedge.core.image.bundle import MAGIC, MAX_PARTS, MAX_STATEMENT, NAME, part_name

_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def first_part(path: Path, text: str) -> Path:
    """Where the first part lies, or is to lie."""
    return path / NAME if path.is_dir() or text.endswith("/") else path


def open_to_read(first: Path, number: int) -> int | None:
    """Open part `number`; none where it is not there. Raises Refused for links, devices, pipes and folders."""
    from dfedge.store.bundle import open_regular

    return open_regular(first.with_name(part_name(first.name, number)))


def revocation_in(first: Path) -> bytes | None:
    """The bytes of what is no bundle and may be a plain revocation list. Raises NotFound, Corrupt, Refused."""
    fd = open_to_read(first, 1)
    if fd is None:
        raise NotFound(f"{first}: there is no such file", "dfedge import --help")
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_STATEMENT + 1)
    if data.startswith(MAGIC) or MAGIC.startswith(data):
        return None
    try:
        unpack(data, MAX_STATEMENT)
    except ValueError as error:
        raise Corrupt(f"{first}: is neither a bundle nor a revocation list") from error
    return data


class Draft:
    """Parts being written beside their places; what was there stays until all are whole."""

    def __init__(self, first: Path) -> None:
        self._first = first
        self._drafts: list[Path] = []

    def path(self, number: int) -> Path:
        """Where part `number` will be."""
        return self._first.with_name(part_name(self._first.name, number))

    def open(self, number: int) -> int:
        """Open part `number` to write it."""
        draft = self.path(number).with_name(self.path(number).name + ".tmp")
        fd = os.open(draft, _WRITE, 0o644)
        self._drafts.append(draft)
        return fd

    def install(self) -> None:
        """Put all in place, the first part last: without it the others are no bundle."""
        for number in range(MAX_PARTS, len(self._drafts), -1):
            self.path(number).unlink(missing_ok=True)
        for draft in reversed(self._drafts):
            draft.replace(draft.with_name(draft.name.removesuffix(".tmp")))
        self._drafts = []
        sync(self._first.parent)

    def discard(self) -> None:
        """Remove what is not in place."""
        for draft in self._drafts:
            with suppress(OSError):
                draft.unlink()


@contextmanager
def drafting(first: Path) -> Iterator[Draft]:
    """Parts that are all put in place at the block's end, or none."""
    draft = Draft(first)
    try:
        yield draft
        draft.install()
    except BaseException:
        draft.discard()
        raise


def sync(folder: Path) -> None:
    """Make the names in a folder last."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
