"""Images for the tests of the store: bytes, their manifest, and the putting of pieces."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from dfedge.core.image.manifest import FileEntry, Manifest, image_id
from dfedge.core.seams import ImageId
from dfedge.store.partial import PartialImage
from dfedge.store.store import Store

PIECE = 4096


@dataclass(frozen=True)
class Firmware:
    """An image with the bytes of all its pieces."""

    manifest: Manifest
    raw: bytes
    files: Mapping[str, bytes]

    @property
    def image(self) -> ImageId:
        return image_id(self.raw)

    def piece(self, number: int) -> bytes:
        where = self.manifest.piece(number)
        return self.files[self.manifest.files[where.file].path][where.offset : where.offset + where.length]

    def blocks(self, number: int, block: int = 1500) -> list[bytes]:
        data = self.piece(number)
        return [data[at : at + block] for at in range(0, len(data), block)]

    async def begin(self, store: Store) -> PartialImage:
        return await store.begin(self.manifest, self.raw, b"signature of it", "alice")

    async def put(self, partial: PartialImage, pieces: Iterable[int] | None = None) -> None:
        for piece in range(self.manifest.pieces) if pieces is None else pieces:
            await partial.put(piece, self.blocks(piece))

    async def fetch(self, store: Store) -> None:
        partial = await self.begin(store)
        await self.put(partial)
        await partial.finish()


def noise(nbytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(nbytes)


def entry(path: str, data: bytes, piece: int = PIECE, digest: bytes | None = None) -> FileEntry:
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    count, rest = divmod(len(data), piece)
    runs = tuple(run for run in ((piece, count), (rest, 1)) if run[0] and run[1])
    digests = b"".join(sha256(part).digest() for part in pieces)
    return FileEntry(path, len(data), digest or sha256(data).digest(), "application/octet-stream", 0o644, runs, digests)


def firmware(
    files: Mapping[str, bytes] | None = None,
    *,
    name: str = "gateway-os",
    version: str = "2.4.1",
    created: int = 1_700_000_000,
    entries: tuple[FileEntry, ...] | None = None,
) -> Firmware:
    files = {"fw.bin": noise(10 * PIECE + 123)} if files is None else files
    made = entries or tuple(entry(path, data) for path, data in files.items())
    manifest = Manifest("fleet", name, version, (), created, made)
    return Firmware(manifest, manifest.encode(), files)
