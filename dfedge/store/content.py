"""The bytes of one image on disk: each distinct file, whole under its digest or still partial, and what of it is held.

All who deal with an image share its one Content, so that a file may become a blob, or a rotten blob a partial file
again, under the feet of those who serve it.
"""

import os
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from dfedge.core.errors import Corrupt, DfedgeError
from dfedge.core.image.manifest import DIGEST, Manifest, Piece
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import ImageId
from dfedge.core.units import short_digest
from dfedge.store.body import Body, hash_cold, hash_range
from dfedge.store.damage import MARK
from dfedge.store.descriptor import Descriptors
from dfedge.store.fault import disk_fault, is_medium
from dfedge.store.journal import Journal
from dfedge.store.layout import Layout, has_size, lacking_bytes
from dfedge.store.worker import Workers

MOST_COMPARED: Final = 65_536  # pieces; beyond it a table of all digests would cost more memory than it is worth

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all images of a store share. The callbacks run on the event loop."""

    layout: Layout
    files: Descriptors
    workers: Workers  # for pieces
    long_jobs: anyio.CapacityLimiter  # how many whole files are hashed, synced or copied at once
    degrade: Callable[[str], None]  # the disk failed us, for the reason given
    wake: Callable[[], None]  # pieces wait to be made durable
    completed: Callable[[ImageId], Awaitable[None]]  # every file of this image is a blob
    demoted: Callable[[ImageId], None]  # a file of this image is a blob no more
    sharers: Callable[[ImageId, bytes], "list[Content]"]  # the other images that have this file
    lost: Callable[[ImageId, Collection[int]], None]  # these pieces of an image have left its map
    rotted: Callable[[ImageId, str, int], None]  # so many pieces of this file of an image are to be fetched again
    spoiling: anyio.Lock  # files leave the blobs one at a time

    def fault(self, path: Path, doing: str, error: OSError) -> DfedgeError:
        """Note that the disk failed; returns what a user is told. Call it on the event loop."""
        fault = disk_fault(path, doing, error)
        self.degrade(str(fault))
        return fault

    async def piecework(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a job of one piece in a thread; long jobs are not in its way."""
        return await self.workers.work(job, *args)

    async def work(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a job that may be long in a thread. A cancelled caller waits for its end, so nothing is half known."""
        return await to_thread.run_sync(job, *args, limiter=self.long_jobs)


class Content:
    """What is held of an image, and the reading of it. `holds` changes only on the event loop."""

    def __init__(self, manifest: Manifest, image: ImageId, shared: Shared) -> None:
        """Raises Corrupt where files of the manifest contradict each other."""
        self.manifest = manifest
        self.image = image
        self.shared = shared
        self.folder = shared.layout.partial_image(image)
        self.journal = Journal(self.folder / "journal", image, manifest.pieces)
        self.holds = PieceMap(manifest.pieces)
        self.proved = PieceMap(manifest.pieces)  # hashed since the start
        self.durable = PieceMap(manifest.pieces)  # journalled
        self.rotten: set[int] = set()  # left the map, and are to leave the journal
        self.held_bytes = 0
        self.moving = anyio.Lock()  # the journal and the places of files change under it
        self._bodies: dict[bytes, Body] = {}
        self._places: dict[bytes, tuple[Path, Path]] = {}  # of each file, as a blob and as a partial file
        self._last: tuple[int, Piece] | None = None
        self._alike: list[list[range]] = []  # for each file the pieces of those cut exactly alike, itself among them
        self._gather()
        if all(self._is_blob(body) for body in self.bodies):
            self.holds, self.held_bytes = PieceMap.full(manifest.pieces), manifest.size
            for body in self.bodies:
                body.whole = True
        else:
            self.adopt_blobs()
            self._believe_journal()

    def _gather(self) -> None:
        alike: dict[tuple[bytes, object, bytes], list[range]] = {}
        for first, entry in zip(self.manifest.first_pieces, self.manifest.files, strict=True):
            body = self._bodies.setdefault(entry.digest, Body(entry.digest, entry.size, entry.path))
            if body.size != entry.size:
                raise Corrupt(
                    f"{self}: files {body.label!r} and {entry.path!r} have one digest, "
                    f"but {body.size:,} and {entry.size:,} bytes"
                )
            pieces = range(first, first + entry.pieces)
            body.copies.append(pieces)
            self._places[body.digest] = self.shared.layout.blob(body.digest), self.folder / body.digest.hex()
            same = alike.setdefault((entry.digest, entry.runs, entry.digests), [])
            same.append(pieces)
            self._alike.append(same)

    def _believe_journal(self) -> None:
        """Hold what an earlier start made durable, where its file is still there."""
        if not self.journal.exists():
            return
        there = {id(body) for body in self.bodies if not body.whole and self.has_partial_file(body)}
        for piece in self.journal.read():
            if id(self.body(self.manifest.piece(piece))) in there:
                for same in self.sharing(piece):
                    self.hold((same,))
                    self.durable.add(same)

    def __str__(self) -> str:
        return f"{self.manifest.name}:{self.manifest.version} ({short_digest(self.image)})"

    @property
    def bodies(self) -> Iterable[Body]:
        """The distinct files."""
        return self._bodies.values()

    @property
    def complete(self) -> bool:
        """Whether every file is a blob."""
        return all(body.whole for body in self.bodies)

    def where(self, piece: int) -> Piece:
        """Where a piece lies; asked many times over for the piece in hand. Raises IndexError."""
        last = self._last
        if last is None or last[0] != piece:
            self._last = last = (piece, self.manifest.piece(piece))
        return last[1]

    def body(self, piece: Piece) -> Body:
        """The file that this piece is in."""
        return self._bodies[self.manifest.files[piece.file].digest]

    def body_of(self, digest: bytes) -> Body | None:
        """The file of this digest, if the image has one."""
        return self._bodies.get(digest)

    def settled(self, piece: int) -> bool:
        """Whether there is nothing to write of this piece: it is held, or its file is a blob."""
        return piece in self.holds or self.body(self.where(piece)).whole

    def place(self, body: Body) -> Path:
        """Where a file lies now."""
        return self._places[body.digest][0 if body.whole else 1]

    def partial_file(self, body: Body) -> Path:
        """Where a file lies while it is not whole."""
        return self._places[body.digest][1]

    @property
    def mark(self) -> Path:
        """A file that says, since its date, that the image was whole here until some of it rotted."""
        return self.folder / MARK

    def has_partial_file(self, body: Body) -> bool:
        """Whether the partial file is there in its full length."""
        return has_size(self.partial_file(body), body.size)

    def yet_to_take(self) -> int:
        """Bytes of the disk that partial files have yet to take, where they could not be preallocated."""
        return sum(lacking_bytes(self.partial_file(body)) for body in self.bodies if not body.whole)

    def sharing(self, piece: int) -> Iterator[int]:
        """The pieces that lie in the same place: this one, and its like in files that are cut exactly alike."""
        file = self.where(piece).file
        within = piece - self.manifest.first_pieces[file]
        return (pieces[within] for pieces in self._alike[file])

    def twins(self, piece: int) -> Iterable[int]:
        """The pieces with the same bytes, wherever they lie, this one among them: padding comes many times over."""
        where = self.where(piece)
        same = self._repeated.get(where.digest)
        if same is None:
            return self.sharing(piece)
        return (twin for twin in same if self.where(twin).length == where.length)

    @cached_property
    def _repeated(self) -> dict[bytes, list[int]]:
        """Pieces by digest, of digests that come more than once."""
        if self.manifest.pieces > MOST_COMPARED:
            return {}
        seen: dict[bytes, list[int]] = {}
        for first, entry in zip(self.manifest.first_pieces, self.manifest.files, strict=True):
            for number in range(entry.pieces):
                digest = entry.digests[number * DIGEST : (number + 1) * DIGEST]
                seen.setdefault(digest, []).append(first + number)
        return {digest: pieces for digest, pieces in seen.items() if len(pieces) > 1}

    def adopt_blobs(self) -> None:
        """Hold the pieces of every file that is a blob by now; one of another size is not believed."""
        for body in self.bodies:
            if not body.whole and self._is_blob(body):
                body.whole = True
                self.hold(body.pieces())

    def trust(self, digests: Container[bytes]) -> None:
        """The pieces of these files were hashed as they were written: their first upload needs no proof."""
        for body in self.bodies:
            if body.digest in digests:
                self.proved.add_all(body.pieces())

    def _is_blob(self, body: Body) -> bool:
        return has_size(self._places[body.digest][0], body.size)

    def hold(self, pieces: Iterable[int]) -> None:
        """Count pieces as held; their bytes are proven and written."""
        for piece in pieces:
            if piece not in self.holds:
                self.holds.add(piece)
                self.held_bytes += self.where(piece).length

    def lose(self, pieces: Iterable[int]) -> None:
        """Count pieces as not held."""
        for piece in pieces:
            if piece in self.holds:
                self.holds.discard(piece)
                self.held_bytes -= self.manifest.piece(piece).length
            self.proved.discard(piece)
            self.durable.discard(piece)

    def doubt(self) -> None:
        """Have every piece hashed again before its next upload: a disk seldom loses only one."""
        if self.proved:  # a file that is rotten all over says so piece by piece
            self.proved = PieceMap(self.manifest.pieces)

    def borrow(self, body: Body) -> AbstractContextManager[int]:
        """Lend a descriptor to read a file, wherever it lies at this moment. Raises OSError."""
        blob, partial = self._places[body.digest]
        first, second = (blob, partial) if body.whole else (partial, blob)
        return self.shared.files.borrow(first, otherwise=second)  # a worker may just be moving it

    def read(self, piece: int, offset: int, length: int) -> bytes:
        """Read a block of a held piece. Raises Corrupt where it is not held or the disk fails."""
        if piece not in self.holds:
            raise Corrupt(f"{self}: piece {piece} is not held")
        where = self.where(piece)
        if offset < 0 or offset + length > where.length:
            raise Corrupt(f"{self}: piece {piece} has {where.length:,} bytes, not {offset + length:,}")
        body = self.body(where)
        try:
            with self.borrow(body) as fd:
                data = os.pread(fd, length, where.offset + offset)
        except OSError as error:
            raise disk_fault(self.place(body), f"piece {piece} can't be read", error) from error
        if len(data) != length:
            raise Corrupt(f"{self.place(body)}: piece {piece} ends {length - len(data):,} bytes early")
        return data

    def hash_piece(self, piece: int, *, cold: bool = False) -> bool:
        """Whether a piece matches its digest, read past the page cache if `cold`.

        Runs in a worker; raises OSError where that can't be told.
        """
        where = self.manifest.piece(piece)
        read = hash_cold if cold else hash_range
        try:
            with self.borrow(self.body(where)) as fd:
                return read(fd, where.offset, where.length) == where.digest
        except FileNotFoundError:
            return False
        except OSError as error:
            if is_medium(error):
                return False
            raise
