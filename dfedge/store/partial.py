"""An image that is being fetched: the one door to its bytes on disk.

Write order: data → fdatasync → journal → fdatasync, by windows; at the end the whole file's SHA-256 → fsync → rename →
fsync of the folder → index. Invariants: the journal vouches only for synced bytes; the blobs hold only whole, proven,
synced files; a file whose fsync failed is never synced again, but read back from disk and written anew.

A little longer than other modules, so that the whole order can be read in one place.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from dfedge.core.errors import Corrupt, NoSpace
from dfedge.core.image.manifest import FileEntry
from dfedge.core.image.outcome import Outcome
from dfedge.core.seams import Bytes
from dfedge.store.allocation import allocate
from dfedge.store.body import Body, chunks, forget_cache, hash_range, while_wanted, write_all
from dfedge.store.content import Content
from dfedge.store.fault import is_medium, told
from dfedge.store.held import HeldImage
from dfedge.store.hole import blank_pieces, data_extents, filled_spans, is_blank
from dfedge.store.layout import make_own_folder, sync_folder

WINDOW: Final = 8 * 1024 * 1024  # bytes written between two syncs; a power cut may lose two of them
WINDOW_S: Final = 5.0  # seconds a written piece waits for its sync at most


ReadPiece = Callable[[], tuple[int, Bytes] | None]
"""Reads the next piece, in a worker: its number and bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class _Put:
    """A piece that was proven, and written to all its `twins` if it `matches`; not yet counted."""

    piece: int
    twins: Sequence[int]
    matches: bool


class SyncFailed(OSError):
    """An fsync failed: what the cache shows of that file may not be what the disk has."""


class PartialImage(HeldImage):
    """Takes pieces, proves and writes them; `finish` makes the files blobs. Made by `Store.begin`."""

    def __init__(self, content: Content) -> None:
        super().__init__(content)
        self.reused = 0  # bytes that were here when the fetch began: files other images share, and earlier attempts
        self._pending: dict[Body, list[int]] = {}  # written, not yet synced
        self._pending_bytes = 0
        self._syncing_bytes = 0
        self._pending_since = 0.0
        self._journal_suspect = False
        self.stopped = ""  # why the disk is too full to take more of it

    def yet_to_take(self) -> int:
        """Bytes of the disk that it has yet to take."""
        return self._content.yet_to_take()

    @property
    def in_doubt(self) -> bool:
        """Whether a file of it is to be written anew, as an fsync of it failed."""
        return any(body.suspect and not body.whole for body in self._content.bodies)

    async def open(self) -> None:
        """Allocate what is missing, and take back what an earlier attempt wrote. Raises NoSpace or Corrupt."""
        content = self._content
        if content.rotten:  # the disk did not let a rotten file leave the blobs, and may do so now
            await self.spoil(())
        async with content.moving:
            content.adopt_blobs()
            if content.complete:
                self.reused = content.held_bytes
                return
            try:
                found = await content.shared.work(self._prepare)
                for piece in found:
                    content.hold(content.sharing(piece))
                    content.proved.add(piece)
                if found:
                    await content.shared.work(self._make_durable, found)
            except OSError as error:
                raise content.shared.fault(content.folder, "can't be prepared", error) from error
            for piece in found:
                content.durable.add(piece)
        self.reused = content.held_bytes

    def _prepare(self) -> list[int]:
        """Allocate the files, hash what is there but not journalled, and take the zeros that nobody need send."""
        content = self._content
        todo = [body for body in content.bodies if not body.whole]
        make_own_folder(content.folder)
        found: list[int] = []
        for body in todo:
            with content.shared.files.borrow(content.partial_file(body), os.O_RDWR | os.O_CREAT) as fd:
                was_there = allocate(fd, body.size, self._spans(body.copies[0]))
                extents = list(data_extents(fd, body.size)) if was_there else []
                found += self._hash_unjournalled(body, fd, extents)
        if not content.journal.exists():
            content.journal.rewrite(())
        sync_folder(content.folder)
        sync_folder(content.shared.layout.partial)
        return found

    def _entry(self, copy: range) -> FileEntry:
        manifest = self._content.manifest
        return manifest.files[manifest.piece(copy[0]).file]

    def _spans(self, copy: range) -> Iterable[tuple[int, int]]:
        return filled_spans(self._entry(copy)) if copy else ()

    def _hash_unjournalled(self, body: Body, fd: int, extents: list[tuple[int, int]]) -> Iterator[int]:
        for copy in body.copies:
            if copy and min(self._content.sharing(copy[0])) == copy[0]:  # of files cut alike the first will do
                yield from self._hash_written(copy, fd, extents)

    def _hash_written(self, pieces: range, fd: int, extents: list[tuple[int, int]]) -> Iterator[int]:
        blank = frozenset(blank_pieces(self._entry(pieces)))
        at = 0
        for number in while_wanted(pieces):
            piece = self._content.manifest.piece(number)
            while at < len(extents) and extents[at][1] <= piece.offset:
                at += 1
            if number in self._content.holds:
                continue
            if at == len(extents) or extents[at][0] >= piece.offset + piece.length:  # a hole
                if number - pieces.start in blank:
                    yield number
            elif hash_range(fd, piece.offset, piece.length) == piece.digest:
                yield number

    def _make_durable(self, pieces: list[int]) -> None:
        for body in self._content.bodies:
            if not body.whole:
                with self._content.borrow(body) as fd:
                    os.fdatasync(fd)
        self._content.journal.append(pieces)

    @told("can't be written")
    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        """Prove a piece against its digest, then write it. The blocks in order are the whole piece.

        Raises NoSpace or Corrupt when the disk fails; then nothing of the piece counts.
        """
        content = self._content
        if piece in content.holds:
            return Outcome.DUPLICATE
        self._check_room()
        body = content.body(content.where(piece))
        if body.whole and content.rotten:  # it is about to leave the blobs
            await self.spoil(())
        if body.whole:
            raise Corrupt(f"{content}: {body.label!r} is whole here, but piece {piece} of its manifest is not in it")
        twins = self._lacking(piece)
        try:
            matches = await content.shared.piecework(self._prove_and_write, piece, twins, blocks)
        except OSError as error:
            raise content.shared.fault(content.place(body), f"piece {piece} can't be written", error) from error
        return await self._count_piece(_Put(piece, twins, matches))

    @told("can't be written")
    async def put_next(self, read: ReadPiece) -> tuple[int, int, Outcome] | None:
        """Put the piece that `read` gives; returns its number, its length and its outcome, or none where there is none.

        It is read in the thread that proves and writes it, which may wait for another disk. Raises as `put` does.
        """
        self._check_room()
        found = await to_thread.run_sync(self._read_and_put, read)
        if found is None:
            return None
        piece, data, put = found
        outcome = await self._count_piece(put) if put is not None else await self.put(piece, [data])
        return piece, len(data), outcome

    def _check_room(self) -> None:
        if self.stopped:
            raise NoSpace(self.stopped, hint="dfedge gc --dry-run")

    def _read_and_put(self, read: ReadPiece) -> tuple[int, Bytes, _Put | None] | None:
        """The last is none where `put` has to look at it: its file is whole, or the disk failed."""
        found = read()
        if found is None:
            return None
        content, (piece, data) = self._content, found
        if content.body(content.where(piece)).whole:
            return piece, data, None
        twins = self._lacking(piece)
        try:
            matches = content.shared.workers.in_turn(self._prove_and_write, piece, twins, [data])
        except OSError:
            return piece, data, None
        return piece, data, _Put(piece, twins, matches)

    def _lacking(self, piece: int) -> list[int]:
        """The places that a piece is to be written to."""
        return [twin for twin in self._content.twins(piece) if not self._content.settled(twin)]

    async def _count_piece(self, put: _Put) -> Outcome:
        content = self._content
        if not put.matches:
            return Outcome.MISMATCH
        if put.piece in content.holds:
            return Outcome.DUPLICATE
        content.hold(put.twins)
        content.proved.add(put.piece)
        await self._count(put.twins)
        return Outcome.STORED

    def _prove_and_write(self, piece: int, twins: Sequence[int], blocks: Sequence[Bytes]) -> bool:
        content = self._content
        where = content.manifest.piece(piece)
        digest = hashlib.sha256()
        length = 0
        for block in blocks:
            digest.update(block)
            length += len(block)
        if length != where.length or digest.digest() != where.digest:
            return False
        for twin in twins:
            if len(twins) > 1 and min(content.sharing(twin)) != twin:
                continue  # written already, as it lies in the same place
            there = content.manifest.piece(twin)
            body = content.body(there)
            with content.shared.files.borrow(content.partial_file(body), os.O_RDWR) as fd:
                write_all(fd, blocks, there.offset)
                if twin in body.copies[0]:
                    body.prefix.extend(twin - body.copies[0].start, blocks, partial(self._written, body, fd))
                body.early.wrote(fd, there.offset, there.length)
        return True

    def _written(self, body: Body, fd: int, number: int) -> Sequence[Bytes] | None:
        """A piece of a file as it is in the page cache still; none where it is not held."""
        pieces = body.copies[0]
        if number >= len(pieces) or pieces[number] not in self._content.holds:
            return None
        where = self._content.manifest.piece(pieces[number])
        return list(chunks(fd, where.offset, where.length))

    async def _count(self, pieces: Sequence[int]) -> None:
        content = self._content
        if not self._pending:
            self._pending_since = anyio.current_time()
            content.shared.wake()
        before = self._pending_bytes
        for piece in pieces:
            where = content.where(piece)
            self._pending.setdefault(content.body(where), []).append(piece)
            self._pending_bytes += where.length
        if before < WINDOW <= self._pending_bytes:
            content.shared.wake()
        while self._pending_bytes and self._pending_bytes + self._syncing_bytes >= 2 * WINDOW:
            await self.flush()  # the disk is slower than the line: whoever brings more waits

    def due(self, now: float) -> float:
        """Seconds until the open window must end; infinite with nothing written."""
        if not self._pending:
            return float("inf")
        if self._pending_bytes >= WINDOW:
            return 0.0
        return max(0.0, self._pending_since + WINDOW_S - now)

    async def flush(self) -> None:
        """End the window: make every piece that was put survive a power cut. A failing disk degrades the store."""
        with anyio.CancelScope(shield=True):
            async with self._content.moving:
                try:
                    await self._end_window()
                except OSError as error:  # not even to look at it: what was to be synced is hashed at the end
                    self.fault("can't be synced", error)
                finally:
                    self._syncing_bytes = 0

    async def _end_window(self) -> None:
        content = self._content
        pending, self._pending = self._pending, {}
        self._syncing_bytes, self._pending_bytes = self._pending_bytes, 0
        synced: dict[Body, list[int]] = {}
        waiting: dict[Body, list[int]] = {}
        for body, pieces in pending.items():
            if body.suspect or body.whole:
                continue
            try:
                await content.shared.work(self._sync, body)
                synced[body] = pieces
            except FileNotFoundError:  # the image was removed meanwhile
                continue
            except SyncFailed as error:
                await self._distrust(body, pieces, error)
            except OSError as error:  # it was not even opened, for want of descriptors: that harms nothing
                content.shared.fault(content.place(body), "can't be opened", error)
                waiting[body] = pieces
        self._wait(waiting)
        done = [piece for pieces in synced.values() for piece in pieces if piece in content.holds]
        if not done:
            return
        try:
            if self._journal_suspect:
                await content.shared.work(content.journal.rewrite, [*content.durable, *done])
            else:
                await content.shared.work(content.journal.append, done)
        except OSError as error:
            content.shared.fault(content.folder / "journal", "can't be written", error)
            self._journal_suspect = True  # written anew with the next window, never synced again
            self._wait(synced)
            return
        self._journal_suspect = False
        for piece in done:
            content.durable.add(piece)

    def _wait(self, pieces: dict[Body, list[int]]) -> None:
        """Have pieces journalled with the next window."""
        if pieces:
            self._pending = {
                **self._pending,
                **{body: [*self._pending.get(body, ()), *more] for body, more in pieces.items()},
            }
            self._pending_since = anyio.current_time()

    def _sync(self, body: Body) -> None:
        with self._content.borrow(body) as fd:
            try:
                self._content.shared.files.check(self._content.partial_file(body))
                os.fdatasync(fd)  # the length is part of it
            except OSError as error:
                body.suspect = True
                raise SyncFailed(error.errno, error.strerror) from error

    async def _distrust(self, body: Body, pieces: list[int], error: OSError) -> None:
        """After a failed fsync the cache calls lost pages clean: believe only what the disk gives back."""
        content = self._content
        await content.shared.work(body.prefix.restart)
        content.shared.fault(content.place(body), "can't be synced", error)
        for piece in await content.shared.work(self._unreadable, body, pieces):
            content.lose(content.sharing(piece))

    def _unreadable(self, body: Body, pieces: list[int]) -> list[int]:
        with self._content.borrow(body) as fd:
            forget_cache(fd)
        return [piece for piece in while_wanted(pieces) if not self._content.hash_piece(piece)]

    @told("can't be made whole")
    async def finish(self) -> None:
        """Prove each whole file, make it a blob, and tell the index. Raises Corrupt or NoSpace; may be called again."""
        await self.flush()
        content = self._content
        self._check_complete()
        for body in content.bodies:
            if not body.whole and not await content.shared.work(self._matches, body):
                await self._explain(body)
        with anyio.CancelScope(shield=True):
            async with content.moving:
                self._check_complete()  # a piece may have turned out rotten meanwhile
                for body in content.bodies:
                    if not body.whole:
                        await self._install(body)
                await content.shared.work(self._settle)
        await content.shared.completed(content.image)

    def _check_complete(self) -> None:
        content = self._content
        if not content.holds.complete:
            lacking = content.manifest.pieces - len(content.holds)
            raise Corrupt(f"{content}: {lacking:,} of {content.manifest.pieces:,} pieces are missing")

    def _matches(self, body: Body) -> bool:
        with self._content.borrow(body) as fd:
            if body.suspect:
                body.prefix.restart()
                forget_cache(fd)
            try:
                return body.matches(fd)
            except OSError as error:
                if is_medium(error):
                    return False
                raise

    async def _explain(self, body: Body) -> None:
        """Find out who is to blame for a file that is not what the manifest says, and raise it."""
        content = self._content
        await content.shared.work(body.prefix.restart)
        rotten = await content.shared.work(self._unreadable, body, list(body.pieces()))
        if rotten:
            await self.spoil(rotten)
            raise Corrupt(
                f"{content}: {len(rotten):,} pieces of {body.label!r} rotted on this disk while they were fetched",
                hint=f"dfedge get {content.manifest.name}:{content.manifest.version}",
            )
        raise Corrupt(
            f"{content}: every piece of {body.label!r} matches, but the whole file does not; its publisher must "
            "publish it again"
        )

    async def _install(self, body: Body) -> None:
        content = self._content
        path = content.partial_file(body)
        try:
            await content.shared.work(self._move, body, path)
        except OSError as error:
            raise content.shared.fault(path, "can't be made whole", error) from error
        body.whole = True

    def _move(self, body: Body, path: Path) -> None:
        if body.suspect:
            self._write_anew(body, path)
        blob = self._content.shared.layout.blob(body.digest)
        self._sync(body)
        path.rename(blob)
        self._content.shared.files.forget(path)
        blob.chmod(0o444)  # not before: read-only under its old name it could not be gone on with

    def _write_anew(self, body: Body, path: Path) -> None:
        fresh = path.with_name(path.name + ".fresh")
        files = self._content.shared.files
        try:
            with files.borrow(path) as old, files.borrow(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as new:
                self._copy(body, old, new)
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            files.forget(fresh)
        files.forget(path)
        body.suspect = False

    def _copy(self, body: Body, old: int, new: int) -> None:
        digest, offset = hashlib.sha256(), 0
        for chunk in while_wanted(chunks(old, 0, body.size)):
            digest.update(chunk)
            if not is_blank(chunk):
                write_all(new, [chunk], offset)
            offset += len(chunk)
        os.ftruncate(new, offset)
        if digest.digest() != body.digest:
            raise OSError(errno.EIO, "the disk gives back other bytes than it took")

    def _settle(self) -> None:
        """Make the new names durable, then remove the folder, which by now holds no more than the journal."""
        sync_folder(self._content.shared.layout.blobs)
        folder = self._content.folder
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            sync_folder(folder.parent)
