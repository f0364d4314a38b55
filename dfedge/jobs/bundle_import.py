"""Importing: what a bundle holds, taken in with the very checks that it would have passed on the wire."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from dfedge.core.errors import NoSpace, Untrusted
from dfedge.core.image.bundle import Kind, split_manifest
from dfedge.core.image.manifest import Manifest, image_id
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Clock, ImageId
from dfedge.jobs.bundle_source import OpenPart, Source
from dfedge.jobs.offer import offer_held
from dfedge.store.bundle import Place, Record
from dfedge.store.partial import PartialImage
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms
from dfedge.trust.nodetrust import NodeTrust

PROVERS: Final = 2  # pieces being read, hashed and written at once
MOST_BAD: Final = 256  # bad pieces remembered for the report


@dataclass(slots=True)
class Taken:
    """An image of a bundle, and how much of it is here by now. Sizes in bytes."""

    image: ImageId
    name: str
    version: str
    signer: str
    total: int
    reused: int = 0
    carried: int = 0  # what the bundle holds of it
    held: int = 0
    complete: bool = False
    bad: list[int] = field(default_factory=list)  # pieces that did not match


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it."""

    images: tuple[Taken, ...]
    revocation: str  # "newer", "known"; empty where the bundle has none
    root: str  # "newer", "known"; empty where the bundle has none
    cut: str  # why the bundle ended early; empty where it was whole
    seconds: float


class Importer:
    """What importing needs of the node."""

    def __init__(
        self,
        store: Store,
        trust: NodeTrust,
        peers: Peers,
        swarms: Swarms,
        clock: Clock,
        before_write: Callable[[int], Awaitable[None]],
    ) -> None:
        """`before_write` is awaited before each piece, and with its bytes when they are known: the disk has other work
        too.
        """
        self._store = store
        self._trust = trust
        self._peers = peers
        self._swarms = swarms
        self._clock = clock
        self._before_write = before_write

    async def take_in(
        self, open_part: OpenPart, report: Callable[[Taken], Awaitable[None]], *, dry_run: bool = False
    ) -> Imported:
        """Take a bundle in, up to where it is cut; `report` hears how each image goes, piece by piece.

        What was here already is passed over unread. With `dry_run` manifests are verified and nothing is written.
        Raises Untrusted (another fleet's, a signature that does not hold), Corrupt, Refused, NoSpace; what was proven
        until then stays.
        """
        start = self._clock()
        source = Source(self._trust.fleet, open_part)
        images: list[Taken] = []
        revocation = root = ""
        try:
            record = await source.next(_nothing)
            while record is not None:
                match record.kind:
                    case Kind.REVOCATION:
                        revocation = self._take_revocation(record.payload, dry_run=dry_run)
                    case Kind.ROOT:
                        root = "newer" if self._trust.is_newer_root(record.payload) else "known"
                    case Kind.MANIFEST:
                        taken, record = await self._image(record, source, report, dry_run=dry_run)
                        images.append(taken)
                        continue
                record = await source.next(_nothing)
        finally:
            source.close()
        return Imported(tuple(images), revocation, root, source.cut, self._clock() - start)

    def _take_revocation(self, data: bytes, *, dry_run: bool) -> str:
        if dry_run:
            return "newer" if self._trust.is_newer_revocation(data) else "known"
        if not self._trust.accept_revocation(data):
            return "known"
        self._peers.revoke()
        if self._trust.is_revoked(self._trust.own_id):
            self._peers.close_all("this node is revoked")
        return "newer"

    async def _image(
        self, record: Record, source: Source, report: Callable[[Taken], Awaitable[None]], *, dry_run: bool
    ) -> tuple[Taken, Record | None]:
        """Take in one image; returns the record after its pieces as well."""
        try:
            raw, signature = split_manifest(record.payload)
        except ValueError as error:
            raise Untrusted(f"the bundle: {error}") from None
        signer = self._trust.verify_manifest(raw, signature)
        manifest = Manifest.decode(raw)
        taken = Taken(image_id(raw), manifest.name, manifest.version, signer, manifest.size)
        if dry_run:
            return taken, await source.next(_Wanted(manifest, PieceMap(manifest.pieces), taken, reads=False))
        with self._store.lease(taken.image, "being imported"):
            partial = await self._begin(manifest, raw, signature, signer)
            taken.reused = partial.held_bytes
            offer_held(self._store, self._peers)  # what made room for it is no longer here
            wanted = _Wanted(manifest, partial.holds, taken, reads=True)
            try:
                after = await self._pieces(source, partial, wanted, taken, report)
            finally:
                drive = self._swarms.drive(taken.image)
                if drive is not None:
                    drive.catch_up()
            if partial.holds.complete:
                await partial.finish()
                if drive is not None:
                    drive.store = self._store.open_image(taken.image)
            else:
                await partial.flush()
            taken.held, taken.complete = partial.held_bytes, partial.holds.complete
            offer_held(self._store, self._peers)
        await report(taken)
        return taken, after

    async def _begin(self, manifest: Manifest, raw: bytes, signature: bytes, signer: str) -> PartialImage:
        try:
            return await self._store.begin(manifest, raw, signature, signer)
        except NoSpace:
            if not await self._swarms.retire_idle():
                raise
        return await self._store.begin(manifest, raw, signature, signer)

    async def _pieces(
        self,
        source: Source,
        partial: PartialImage,
        wanted: "_Wanted",
        taken: Taken,
        report: Callable[[Taken], Awaitable[None]],
    ) -> Record | None:
        """Put an image's pieces, in whatever parts they lie; returns the record after them."""

        async def put_pieces(first: Record | None = None) -> None:
            given = [(first.piece, first.payload)] if first is not None else []

            def read() -> tuple[int, bytes] | None:
                return given.pop() if given else source.read_piece(wanted)

            while True:
                await self._before_write(0)
                put = await partial.put_next(read)
                if put is None:
                    return
                piece, length, outcome = put
                await self._before_write(length)
                if outcome is Outcome.MISMATCH:
                    _note_bad(taken, piece)
                taken.held = partial.held_bytes
                await report(taken)

        while (record := await source.next(wanted)) is not None and record.kind is Kind.PIECE:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(put_pieces, record)
                for _ in range(PROVERS - 1):
                    tasks.start_soon(put_pieces)
        return record


class _Wanted:
    """Which pieces of a bundle are worth reading: those we lack, in the length that the manifest says."""

    def __init__(self, manifest: Manifest, holds: PieceMap, taken: Taken, *, reads: bool) -> None:
        self._manifest = manifest
        self._holds = holds
        self._taken = taken
        self._reads = reads

    def __call__(self, place: Place) -> bool:
        if place.piece >= self._manifest.pieces or place.length != self._manifest.lengths[place.piece]:
            _note_bad(self._taken, place.piece)
            return False
        self._taken.carried += place.length
        return self._reads and place.piece not in self._holds


def _note_bad(taken: Taken, piece: int) -> None:
    if len(taken.bad) < MOST_BAD:
        taken.bad.append(piece)


def _nothing(_place: Place) -> bool:
    return False
