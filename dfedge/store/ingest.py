"""Taking files in to be published: each is read once, hashed twice (pieces, whole) and copied on the way."""

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from dfedge.core.errors import Corrupt, Refused
from dfedge.core.image.cutter import cut
from dfedge.core.image.manifest import MAX_PIECE, MIN_PIECE, FileEntry, Manifest
from dfedge.core.image.name import check_path
from dfedge.store.content import Shared
from dfedge.store.layout import has_size
from dfedge.store.output import reflink
from dfedge.store.reading import OnLoop, Reading

MEDIA_TYPE: Final = "application/octet-stream"


class Committer(Protocol):
    """What the store does with a stage whose manifest is signed."""

    async def __call__(self, stage: "Stage", manifest: Manifest, raw: bytes, signature: bytes, signer: str) -> None: ...


class Stage:
    """Files on their way to be an image. Made by `Store.stage`; it ends with `commit` or `discard`."""

    def __init__(
        self,
        folder: Path,
        expected: int,
        shared: Shared,
        make_room: Callable[[int], Awaitable[None]],
        commit: Committer,
        closed: Callable[["Stage"], None],
        files: int = 1,
    ) -> None:
        """`expected` is how many bytes room was made for, and `files` for how many files."""
        self.files: dict[bytes, Path] = {}  # by digest
        self.installed: list[bytes] = []  # digests of those that `install` has made blobs
        self.outstanding = expected  # bytes for which room was made, not yet written
        self.files_to_come = files
        self._folder = folder
        self._shared = shared
        self._make_room = make_room
        self._commit = commit
        self._closed = closed
        self._count = 0

    @property
    def name(self) -> str:
        """Of its folder."""
        return self._folder.name

    async def add(
        self,
        path: str,
        fd: int,
        mode: int,
        piece_length: int,
        before_write: OnLoop | None = None,
        report: OnLoop | None = None,
    ) -> FileEntry:
        """Copy and hash an open file, in pieces of `piece_length` bytes; `path` is its place in the image.

        `before_write` is awaited with the bytes of each write; a file that can be cloned is not written at all.
        `report` is awaited with the bytes of the file that were read, now and then.

        Raises Refused if it is no regular file or changes meanwhile, NoSpace or Corrupt where our disk fails,
        ValueError for a path or piece length that no manifest may have.
        """
        check_path(path)
        if not MIN_PIECE <= piece_length <= MAX_PIECE:
            raise ValueError(f"pieces of {piece_length:,} bytes; {MIN_PIECE:,} to {MAX_PIECE:,} are allowed")
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise Refused(f"{path}: is not a regular file", hint="dfedge publish --help")
        if before.st_size > self.outstanding:
            await self._make_room(before.st_size - self.outstanding)
            self.outstanding = before.st_size
        self._count += 1
        self.files_to_come = max(0, self.files_to_come - 1)
        staged = self._folder / str(self._count)
        try:
            digest, digests = await self._shared.work(
                self._take_in, path, fd, staged, piece_length, before_write, report
            )
            if digest in self.files or has_size(self._shared.layout.blob(digest), before.st_size):
                await self._shared.work(staged.unlink)
            else:
                self.files[digest] = staged
        except OSError as error:
            raise self._shared.fault(staged, f"{path} can't be taken in", error) from error
        self.outstanding = max(0, self.outstanding - before.st_size)
        runs = cut(before.st_size, piece_length)
        return FileEntry(path, before.st_size, digest, MEDIA_TYPE, mode & 0o777, runs, digests)

    def _take_in(
        self,
        path: str,
        source: int,
        staged: Path,
        piece_length: int,
        before_write: OnLoop | None,
        report: OnLoop | None,
    ) -> tuple[bytes, bytes]:
        before = _state(source)
        out = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            cloned = reflink(source, out)
            copy = None if cloned else out
            reading = Reading(out if cloned else source, before[0], piece_length, copy, before_write, report)
            digest, digests = reading.run()
        except EOFError:
            raise _changed(path) from None
        finally:
            os.close(out)
        if _state(source) != before or os.pread(source, 1, before[0]):  # a file of /proc holds more than it says
            raise _changed(path)
        return digest, digests

    async def commit(self, manifest: Manifest, raw: bytes, signature: bytes, signer: str) -> None:
        """Make the files an image of the store. `raw` is the manifest as signed; the signature has been verified.

        Raises Refused where its name and version are taken, Corrupt where a file of it was never added.
        """
        await self._commit(self, manifest, raw, signature, signer)
        await self.discard()

    def install(self) -> None:
        """Sync the files, then make them blobs. Runs in a worker; raises OSError."""
        for digest, staged in self.files.items():
            fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.fsync(fd)
                os.fchmod(fd, 0o444)
            finally:
                os.close(fd)
            staged.rename(self._shared.layout.blob(digest))
            self.installed.append(digest)

    async def discard(self) -> None:
        """Remove what is left of it; what a failing disk keeps goes at the next start. It may be called again."""
        try:
            await self._shared.work(self._remove)
        except OSError as error:
            self._shared.fault(self._folder, "can't be removed", error)
        finally:
            self.files = {}
            self.outstanding = self.files_to_come = 0
            self._closed(self)

    def _remove(self) -> None:
        if self._folder.exists():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()


def _state(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _changed(path: str) -> Refused:
    return Refused(f"{path}: changed while it was being published", hint="publish a copy that nobody writes to")


def check_all_there(stage: Stage, manifest: Manifest, shared: Shared) -> None:
    """Raises Corrupt where the manifest has a file that is neither staged nor here."""
    for entry in manifest.files:
        if entry.digest not in stage.files and not has_size(shared.layout.blob(entry.digest), entry.size):
            raise Corrupt(f"{manifest.name}:{manifest.version}: {entry.path!r} was never taken in")
