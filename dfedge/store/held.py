"""An image we hold, whole or in part, as those see it who only serve it."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from anyio import CancelScope

from dfedge.core.errors import DfedgeError, Refused
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes
from dfedge.store.body import forget_cache
from dfedge.store.content import Content
from dfedge.store.fault import told
from dfedge.store.rot import spoil
from dfedge.store.worker import Workers

TOGETHER: Final = 256  # rotten pieces that leave the journal at once: to write it takes two syncs
Before = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Checked:
    """How many pieces and bytes were read, and which pieces were bad."""

    pieces: int
    nbytes: int
    bad: tuple[int, ...]


class HeldImage:
    """Proves pieces on disk and reads them. A piece that has rotted leaves the map at once.

    A rotten file leaves the blobs: it becomes a partial file of this image, so that a fetch mends just what is bad.
    """

    def __init__(self, content: Content) -> None:
        self._content = content

    def fault(self, doing: str, error: OSError) -> DfedgeError:
        """Note that the disk failed; returns what a user is told."""
        return self._content.shared.fault(self._content.folder, doing, error)

    @property
    def manifest(self) -> Manifest:
        """What the image is."""
        return self._content.manifest

    @property
    def holds(self) -> PieceMap:
        """The live map of what may be served; the caller does not change it."""
        return self._content.holds

    @property
    def held_bytes(self) -> int:
        """Bytes of the pieces held."""
        return self._content.held_bytes

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        """Take nothing: an image that is not being fetched. Raises Refused for a piece it lacks."""
        if piece in self.holds:
            return Outcome.DUPLICATE
        raise Refused(f"{self._content}: {len(blocks)} blocks of piece {piece} came, but nobody fetches this image")

    def twins(self, piece: int) -> Iterable[int]:
        """The pieces with the same bytes as this one, itself included: they are stored together."""
        return self._content.twins(piece)

    async def prove(self, piece: int) -> bool:
        """Hash a held piece before its first upload since the start or a doubt; false takes it out of the map."""
        return piece in self.holds and (piece in self._content.proved or await self.recheck(piece))

    @told("can't be read")
    async def recheck(self, piece: int) -> bool:
        """Hash a piece now, as somebody complained; false takes it out of the map. Raises Busy."""
        content = self._content
        if piece not in content.holds:
            return False
        content.proved.discard(piece)
        if await content.shared.piecework(content.hash_piece, piece):
            if piece in content.holds:
                content.proved.add(piece)
            return True
        await self._try_to_spoil((piece,))
        return False

    @told("can't be read")
    async def check(self, pieces: Iterable[int], workers: Workers, before: Before) -> Checked:
        """Hash pieces, of those that are held, from disk; `before` is awaited for each. What is bad leaves the map.

        Raises Busy or Corrupt where it can't be read just now.
        """
        content = self._content
        checked, nbytes, bad = 0, 0, []
        for piece in pieces:
            await before()
            if piece not in content.holds:
                continue
            checked += 1
            nbytes += content.manifest.piece(piece).length
            good = await workers.work(partial(content.hash_piece, piece, cold=True))
            if not good and piece in content.holds:  # the image may have been removed meanwhile
                self.drop((piece,))
                bad.append(piece)
                if len(bad) % TOGETHER == 0:
                    await self._try_to_spoil(())
        if bad:
            await self._try_to_spoil(())
        return Checked(checked, nbytes, tuple(bad))

    def doubt(self) -> None:
        """Have every piece hashed again before its next upload."""
        self._content.doubt()

    def read(self, piece: int, offset: int, length: int) -> bytes:
        """Read a block of a held piece from the page cache or disk. Raises Corrupt."""
        return self._content.read(piece, offset, length)

    def forget_cache(self) -> None:
        """Have the next reading of this image come from disk."""
        for body in self._content.bodies:
            try:
                with self._content.borrow(body) as fd:
                    forget_cache(fd)
            except FileNotFoundError:  # nothing of it is here
                continue

    @told("can't be changed")
    async def spoil(self, pieces: Iterable[int]) -> None:
        """Take pieces that rotted out of the map and the journal, and their files out of the blobs.

        They leave the map at once; the rest is done for all that rotted by the time it begins. Raises NoSpace or
        Corrupt where the disk fails; then it is tried again when the disk is well, or with the next that rots.
        """
        self.drop(pieces)
        content = self._content
        with CancelScope(shield=True):  # the journal must not vouch for what left the map
            async with content.shared.spoiling:
                rotten, content.rotten = content.rotten, set()
                try:
                    if rotten:
                        await spoil(content, rotten)
                except BaseException:
                    content.rotten |= {piece for piece in rotten if piece not in content.holds}
                    content.shared.demoted(content.image)
                    raise

    async def _try_to_spoil(self, pieces: Iterable[int]) -> None:
        """Spoil them; the disk that lost them may take no writes either, but they have left the map."""
        with suppress(DfedgeError):
            await self.spoil(pieces)

    def drop(self, pieces: Iterable[int]) -> None:
        """Take pieces that rotted out of the map; whoever does so calls `spoil` soon."""
        content = self._content
        rotten = {same for piece in pieces for same in content.sharing(piece) if same in content.holds}
        if rotten:
            content.lose(rotten)
            content.rotten |= rotten
            content.shared.lost(content.image, rotten)
