"""Exporting: images of this store into a bundle, each piece proven on the way out."""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import to_thread

from dfedge.core.errors import Corrupt, Refused
from dfedge.core.image.bundle import (
    BUNDLE_ID,
    LENGTH,
    MAX_PART_BYTES,
    MAX_PARTS,
    Kind,
    PartHeader,
    spell_manifest,
)
from dfedge.core.image.manifest import MAX_MANIFEST, MAX_PIECE
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes, ImageId
from dfedge.core.units import size
from dfedge.store.bundle import PartWriter
from dfedge.store.catalogue import StoredImage
from dfedge.store.fault import disk_fault
from dfedge.store.stick import blanks
from dfedge.store.store import Store
from dfedge.trust.nodetrust import NodeTrust

LEAST_PART: Final = MAX_MANIFEST + MAX_PIECE  # bytes; any record fits
OpenPart = Callable[[int], Awaitable[int]]
"""Gives a descriptor of part number `n`, from 1, to write to; whoever asks closes it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of it."""

    parts: int
    size: int  # bytes of all parts
    images: tuple[StoredImage, ...]


async def export(
    images: Sequence[StoredImage],
    open_part: OpenPart,
    report: Callable[[StoredImage, int], Awaitable[None]],
    *,
    with_trust: bool,
    store: Store,
    trust: NodeTrust,
    part_bytes: int = MAX_PART_BYTES,
    held_there: Mapping[ImageId, PieceMap] | None = None,
) -> Exported:
    """Write complete images into a bundle; `report` hears of each piece how many bytes of its image are done.

    Pieces in `held_there` are left out: whom the bundle is for has them.
    Raises Refused (an image is not whole here; too many parts), Corrupt (it has rotted; the target fails), NoSpace.
    """
    for image in images:
        if not image.complete:
            label = f"{image.name}:{image.version}"
            raise Refused(
                f"{label}: is not whole here, {size(image.held)} of {size(image.size)}", f"dfedge get {label}"
            )
    bundle = _Bundle(trust.fleet, open_part, max(part_bytes, LEAST_PART))
    try:
        await bundle.begin()
        if with_trust:
            await bundle.add(Kind.ROOT, trust.root)
            await bundle.add(Kind.REVOCATION, trust.revocation)
        for image in images:
            with store.lease(image.image, "being exported"):
                there = (held_there or {}).get(image.image)
                await _export(image, bundle, report, store, trust, there or ())
        await bundle.end(Kind.END)
    except OSError as error:
        raise disk_fault(Path(f"part {bundle.parts}"), "can't be written", error) from error
    finally:
        bundle.close()
    return Exported(bundle.parts, bundle.size, tuple(images))


async def _export(
    image: StoredImage,
    bundle: "_Bundle",
    report: Callable[[StoredImage, int], Awaitable[None]],
    store: Store,
    trust: NodeTrust,
    held_there: Iterable[int],
) -> None:
    files = store.manifest_files(image.image)
    if files is None:
        raise Corrupt(f"{image.name}:{image.version}: its manifest has rotted", "dfedge verify")
    trust.verify_manifest(*files)  # a signer that is trusted no more is not carried on
    await bundle.add(Kind.MANIFEST, spell_manifest(*files))
    held = store.open_image(image.image)
    manifest, done, seen = held.manifest, 0, set()
    left_out = frozenset((*blanks(manifest), *held_there))
    for number in range(manifest.pieces):
        piece = manifest.piece(number)
        if number not in left_out and piece.digest not in seen:
            seen.add(piece.digest)
            if not await held.prove(number):
                raise Corrupt(
                    f"{image.name}:{image.version}: piece {number} has rotted on this disk", "dfedge verify --repair"
                )
            data = await to_thread.run_sync(held.read, number, 0, piece.length)
            await bundle.add(Kind.PIECE, LENGTH.pack(number), data)
        done += piece.length
        await report(image, done)


class _Bundle:
    """The part that is being written, and the ones before."""

    def __init__(self, fleet: str, open_part: OpenPart, part_bytes: int) -> None:
        self.parts = 0
        self.size = 0
        self._fleet = fleet
        self._id = os.urandom(BUNDLE_ID)
        self._open_part = open_part
        self._part_bytes = part_bytes
        self._part: PartWriter | None = None

    async def begin(self) -> None:
        if self.parts == MAX_PARTS:
            raise Refused(
                f"a bundle of more than {MAX_PARTS} parts", "dfedge export, with fewer images or larger parts"
            )
        self.parts += 1
        fd = await self._open_part(self.parts)
        try:
            self._part = await to_thread.run_sync(PartWriter, fd, PartHeader(self._fleet, self._id, self.parts))
        except BaseException:
            os.close(fd)
            raise

    async def add(self, kind: Kind, *payload: Bytes) -> None:
        assert self._part is not None
        if not self._part.room_after(sum(map(len, payload)), self._part_bytes):
            await self.end(Kind.NEXT)
            await self.begin()
        await to_thread.run_sync(self._part.add, kind, *payload)

    async def end(self, kind: Kind) -> None:
        assert self._part is not None
        await to_thread.run_sync(self._part.add, kind)
        await to_thread.run_sync(self._part.end)
        self.size += self._part.size
        self.close()

    def close(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()
