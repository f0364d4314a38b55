"""Images that lie on a stick and are served from there: read-only, proven piece by piece before they are sent."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from anyio import to_thread

from dfedge.core.errors import Corrupt, Refused
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes, ImageId
from dfedge.store.hole import blank_pieces


class StickImage:
    """One image on a stick, to be served. `close` it before its descriptors are closed."""

    def __init__(
        self, manifest: Manifest, raw: bytes, signature: bytes, places: Mapping[int, tuple[int, int]],
        lost: Callable[[Sequence[int]], None],
    ) -> None:  # fmt: skip
        """`places` says for a piece in which descriptor and where it lies; `lost` hears of what turns out bad."""
        self.manifest = manifest
        self.files = raw, signature
        self._lost = lost
        self._proved = PieceMap(manifest.pieces)
        self._places = dict(places)
        by_digest = {manifest.piece(piece).digest: place for piece, place in places.items()}
        for piece in range(manifest.pieces):
            place = by_digest.get(manifest.piece(piece).digest)
            if place is not None:
                self._places[piece] = place
        self.holds = PieceMap(manifest.pieces, [*self._places, *blanks(manifest)])
        self.held_bytes = sum(manifest.lengths[piece] for piece in self.holds)

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        """Take nothing. Raises Refused for a piece it lacks."""
        if piece in self.holds:
            return Outcome.DUPLICATE
        raise Refused(f"{self}: {len(blocks)} blocks of piece {piece} came, but the stick is only read")

    def twins(self, piece: int) -> Iterable[int]:
        """The piece itself: nothing is ever put."""
        return (piece,)

    async def prove(self, piece: int) -> bool:
        """Hash a piece before its first upload; false takes it out of the map."""
        return piece in self.holds and (piece in self._proved or await self.recheck(piece))

    async def recheck(self, piece: int) -> bool:
        """Hash a piece now; false takes it out of the map."""
        if piece not in self.holds:
            return False
        if await to_thread.run_sync(self._matches, piece):
            self._proved.add(piece)
            return True
        if piece in self.holds:
            self.holds.discard(piece)
            self._proved.discard(piece)
            self.held_bytes -= self.manifest.lengths[piece]
            self._lost((piece,))
        return False

    def doubt(self) -> None:
        """Have every piece hashed again before its next upload."""
        self._proved = PieceMap(self.manifest.pieces)

    def _matches(self, piece: int) -> bool:
        where = self.manifest.piece(piece)
        try:
            return hashlib.sha256(self.read(piece, 0, where.length)).digest() == where.digest
        except Corrupt:
            return False

    def read(self, piece: int, offset: int, length: int) -> bytes:
        """Read a block of a held piece. Raises Corrupt where it is not held or the stick gives it no more."""
        if piece not in self.holds:
            raise Corrupt(f"{self}: piece {piece} is not on the stick any more")
        if offset < 0 or offset + length > self.manifest.lengths[piece]:
            raise Corrupt(f"{self}: piece {piece} has {self.manifest.lengths[piece]:,} bytes")
        place = self._places.get(piece)
        if place is None:
            return bytes(length)
        fd, start = place
        try:
            data = os.pread(fd, length, start + offset)
        except OSError as error:
            raise Corrupt(f"{self}: the stick can't be read: {(error.strerror or str(error)).lower()}") from error
        if len(data) != length:
            raise Corrupt(f"{self}: piece {piece} ends {length - len(data):,} bytes early on the stick")
        return data

    def close(self) -> None:
        """Hold nothing any more: its descriptors are about to be closed."""
        self.holds = PieceMap(self.manifest.pieces)
        self._places = {}

    def __str__(self) -> str:
        return f"{self.manifest.name}:{self.manifest.version}"


class Sticks:
    """The images that are served from sticks now, by id."""

    def __init__(self) -> None:
        self._images: dict[ImageId, StickImage] = {}

    def add(self, image: ImageId, stick: StickImage) -> bool:
        """Serve it from now on; false says that another stick has it already."""
        return self._images.setdefault(image, stick) is stick

    def remove(self, image: ImageId) -> None:
        """Serve it no more."""
        self._images.pop(image, None)

    def find(self, image: ImageId) -> StickImage | None:
        """The image, if a stick has it."""
        return self._images.get(image)

    def __iter__(self) -> Iterator[tuple[ImageId, StickImage]]:
        return iter(list(self._images.items()))


def blanks(manifest: Manifest) -> Iterator[int]:
    """The pieces that are zeros: a bundle does not carry them."""
    for first, entry in zip(manifest.first_pieces, manifest.files, strict=True):
        for number in blank_pieces(entry):
            yield first + number
