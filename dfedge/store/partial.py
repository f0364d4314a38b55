"""An image that is being fetched: the one door to its bytes on disk.

Write order: data → fdatasync → journal → fdatasync, by windows; at the end the whole file's SHA-256 → fsync → rename →
fsync of the folder → index. Invariants: the journal vouches only for synced bytes; the blobs hold only whole, proven,
synced files; a file whose fsync failed is never synced again, but read back from disk and written anew.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio

from dfedge.core.errors import Corrupt
from dfedge.core.image.outcome import Outcome
from dfedge.core.seams import Bytes
from dfedge.store.allocation import allocate, data_extents
from dfedge.store.body import Body, chunks, forget_cache, hash_range, while_wanted, write_all
from dfedge.store.content import Content
from dfedge.store.fault import disk_fault
from dfedge.store.held import HeldImage
from dfedge.store.layout import make_own_folder, sync_folder

WINDOW: Final = 16 * 1024 * 1024  # bytes written between two syncs: what a crash costs to hash again
CATCH_UP: Final = 2  # pieces hashed again with each new one, so that little is left to hash at the end
WINDOW_S: Final = 5.0  # seconds a written piece waits for its sync at most


class PartialImage(HeldImage):
    """Takes pieces, proves and writes them; `finish` makes the files blobs. Made by `Store.begin`."""

    def __init__(self, content: Content) -> None:
        super().__init__(content)
        self.reused = 0  # bytes that were here when the fetch began: files other images share, and earlier attempts
        self._pending: dict[Body, list[int]] = {}  # written, not yet synced
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._journal_suspect = False

    async def open(self) -> None:
        """Allocate what is missing, and take back what an earlier attempt wrote. Raises NoSpace or Corrupt."""
        content = self._content
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
                raise disk_fault(content.folder, "can't be prepared", error) from error
            for piece in found:
                content.durable.add(piece)
        self.reused = content.held_bytes

    def _prepare(self) -> list[int]:
        """Allocate the files, and hash what is there but not journalled."""
        content = self._content
        todo = [body for body in content.bodies if not body.whole]
        make_own_folder(content.folder)
        found: list[int] = []
        for body in todo:
            with content.shared.files.borrow(content.partial_file(body), os.O_RDWR | os.O_CREAT) as fd:
                if allocate(fd, body.size):
                    found += self._hash_unjournalled(body, fd)
        if not content.journal.exists():
            content.journal.rewrite(())
        sync_folder(content.folder)
        sync_folder(content.shared.layout.partial)
        return found

    def _hash_unjournalled(self, body: Body, fd: int) -> Iterator[int]:
        for copy in body.copies:
            if copy and min(self._content.sharing(copy[0])) == copy[0]:  # of files cut alike the first will do
                yield from self._hash_written(copy, fd, list(data_extents(fd, body.size)))

    def _hash_written(self, pieces: range, fd: int, extents: list[tuple[int, int]]) -> Iterator[int]:
        at = 0
        for number in while_wanted(pieces):
            piece = self._content.manifest.piece(number)
            while at < len(extents) and extents[at][1] <= piece.offset:
                at += 1
            if at == len(extents):
                return
            if number in self._content.holds or extents[at][0] >= piece.offset + piece.length:
                continue
            if hash_range(fd, piece.offset, piece.length) == piece.digest:
                yield number

    def _make_durable(self, pieces: list[int]) -> None:
        for body in self._content.bodies:
            if not body.whole:
                with self._content.borrow(body) as fd:
                    os.fdatasync(fd)
        self._content.journal.append(pieces)

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        """Prove a piece against its digest, then write it. The blocks in order are the whole piece.

        Raises NoSpace or Corrupt when the disk fails; then nothing of the piece counts.
        """
        content = self._content
        if piece in content.holds:
            return Outcome.DUPLICATE
        body = content.body(content.where(piece))
        if body.whole:
            raise Corrupt(f"{content}: {body.label!r} is whole here, but piece {piece} of its manifest is not in it")
        twins = [twin for twin in content.twins(piece) if not content.settled(twin)]
        try:
            if not await content.shared.piecework(self._prove_and_write, piece, twins, blocks):
                return Outcome.MISMATCH
        except OSError as error:
            fault = disk_fault(content.place(body), f"piece {piece} can't be written", error)
            if isinstance(fault, Corrupt):
                content.shared.degrade(str(fault))
            raise fault from error
        if piece in content.holds:
            return Outcome.DUPLICATE
        content.hold(twins)
        content.proved.add(piece)
        await self._count(twins)
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
                body.extend_prefix(self._continuation(twin, blocks, body, fd))
        return True

    def _continuation(
        self, piece: int, blocks: Sequence[Bytes], body: Body, fd: int
    ) -> Iterator[tuple[int, Sequence[Bytes]]]:
        """What follows the hashed beginning: this piece, or a few that came earlier and are in the page cache still."""
        for later in body.copies[0][body.prefix_pieces :][: 1 + CATCH_UP]:
            if later == piece:
                yield later, blocks
            elif later in self._content.holds:
                where = self._content.manifest.piece(later)
                yield later, list(chunks(fd, where.offset, where.length))
            else:
                return

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
        elif self._pending_bytes >= 2 * WINDOW:  # the disk is slower than the line: whoever brings more waits
            await self.flush()

    def due(self, now: float) -> float:
        """Seconds until the open window must end; infinite with nothing written."""
        if not self._pending:
            return float("inf")
        if self._pending_bytes >= WINDOW:
            return 0.0
        return max(0.0, self._pending_since + WINDOW_S - now)

    async def flush(self) -> None:
        """End the window: make every piece that was put survive a power cut. A failing disk degrades the store."""
        content = self._content
        with anyio.CancelScope(shield=True):
            async with content.moving:
                await self._end_window()

    async def _end_window(self) -> None:
        content = self._content
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        synced: dict[Body, list[int]] = {}
        for body, pieces in pending.items():
            if body.suspect or body.whole:
                continue
            try:
                await content.shared.work(self._sync, body)
                synced[body] = pieces
            except FileNotFoundError:  # the image was removed meanwhile
                continue
            except OSError as error:
                await self._distrust(body, pieces, error)
        done = [piece for pieces in synced.values() for piece in pieces if piece in content.holds]
        if not done:
            return
        try:
            if self._journal_suspect:
                await content.shared.work(content.journal.rewrite, [*content.durable, *done])
            else:
                await content.shared.work(content.journal.append, done)
        except OSError as error:
            content.shared.degrade(str(disk_fault(content.folder / "journal", "can't be written", error)))
            self._journal_suspect = True  # written anew with the next window, never synced again
            self._pending = {**synced, **self._pending}
            self._pending_since = anyio.current_time()
            return
        self._journal_suspect = False
        for piece in done:
            content.durable.add(piece)

    def _sync(self, body: Body) -> None:
        with self._content.borrow(body) as fd:
            os.fdatasync(fd)

    async def _distrust(self, body: Body, pieces: list[int], error: OSError) -> None:
        """After a failed fsync the cache calls lost pages clean: believe only what the disk gives back."""
        content = self._content
        body.suspect = True
        await content.shared.work(body.restart_prefix)
        content.shared.degrade(str(disk_fault(content.place(body), "can't be synced", error)))
        for piece in await content.shared.work(self._unreadable, body, pieces):
            content.lose(content.sharing(piece))

    def _unreadable(self, body: Body, pieces: list[int]) -> list[int]:
        with self._content.borrow(body) as fd:
            forget_cache(fd)
        return [piece for piece in while_wanted(pieces) if not self._content.hash_piece(piece)]

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
                body.restart_prefix()
                forget_cache(fd)
            return body.matches(fd)

    async def _explain(self, body: Body) -> None:
        """Find out who is to blame for a file that is not what the manifest says, and raise it."""
        content = self._content
        await content.shared.work(body.restart_prefix)
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
            body.suspect = True
            fault = disk_fault(path, "can't be made whole", error)
            content.shared.degrade(str(fault))
            raise fault from error
        body.whole = True

    def _move(self, body: Body, path: Path) -> None:
        if body.suspect:
            self._write_anew(body, path)
        blob = self._content.shared.layout.blob(body.digest)
        with self._content.shared.files.borrow(path, os.O_RDWR) as fd:
            os.fsync(fd)
            os.fchmod(fd, 0o444)
        path.rename(blob)
        self._content.shared.files.forget(path)

    def _write_anew(self, body: Body, path: Path) -> None:
        fresh = path.with_name(path.name + ".fresh")
        files = self._content.shared.files
        with files.borrow(path) as old, files.borrow(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as new:
            offset = 0
            for chunk in while_wanted(chunks(old, 0, body.size)):
                write_all(new, [chunk], offset)
                offset += len(chunk)
        fresh.rename(path)
        files.forget(fresh)
        files.forget(path)
        body.suspect = False

    def _settle(self) -> None:
        """Make the new names durable, then remove the folder, which by now holds no more than the journal."""
        sync_folder(self._content.shared.layout.blobs)
        folder = self._content.folder
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            sync_folder(folder.parent)
