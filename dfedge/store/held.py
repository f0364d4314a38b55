"""An image we hold, whole or in part, as those see it who only serve it."""

from collections.abc import Iterable, Sequence

from anyio import CancelScope

from dfedge.core.errors import Refused
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes
from dfedge.store.body import Body, forget_cache
from dfedge.store.content import Content
from dfedge.store.layout import make_own_folder, sync_folder


class HeldImage:
    """Proves pieces on disk and reads them. A piece that has rotted leaves the map at once.

    A rotten file leaves the blobs: it becomes a partial file of this image, so that a fetch mends just what is bad.
    """

    def __init__(self, content: Content) -> None:
        self._content = content

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
        """Hash a held piece before its first upload since the start; false takes it out of the map."""
        return piece in self.holds and (piece in self._content.proved or await self.recheck(piece))

    async def recheck(self, piece: int) -> bool:
        """Hash a piece now, as somebody complained; false takes it out of the map."""
        content = self._content
        if piece not in content.holds:
            return False
        if await content.shared.piecework(content.hash_piece, piece):
            if piece in content.holds:
                content.proved.add(piece)
            return True
        await self.spoil((piece,))
        return False

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

    async def spoil(self, pieces: Iterable[int]) -> None:
        """Take pieces that rotted out of the map and the journal, and their files out of the blobs."""
        content = self._content
        rotten = {same for piece in pieces for same in content.sharing(piece)}
        with CancelScope(shield=True):  # the journal must not vouch for what left the map
            async with content.moving:
                content.lose(rotten)
                for body in {content.body(content.manifest.piece(piece)) for piece in rotten}:
                    await content.shared.work(body.restart_prefix)  # not here: a worker may be hashing it
                    if body.whole and not await content.shared.work(self._is_sound, body):
                        await self._take_back(body)
                if content.journal.exists():
                    await content.shared.work(content.journal.rewrite, list(content.durable))

    async def _take_back(self, body: Body) -> None:
        content = self._content
        kept = await content.shared.work(self._demote, body)
        body.whole = False
        if not kept:
            content.lose(body.pieces())
        for piece in body.pieces():
            if piece in content.holds:
                content.durable.add(piece)
        await content.shared.demoted(content.image, body.digest)

    def _is_sound(self, body: Body) -> bool:
        """Whether a blob is what its name says, so that it is the manifest which contradicts itself."""
        try:
            with self._content.borrow(body) as fd:
                return body.matches(fd)
        except OSError:
            return False
        finally:
            body.restart_prefix()

    def _demote(self, body: Body) -> bool:
        """Move a blob back; false says that it is gone."""
        content = self._content
        make_own_folder(content.folder)
        partial, blob = content.partial_file(body), content.shared.layout.blob(body.digest)
        try:
            blob.chmod(0o600)
            blob.rename(partial)
        except FileNotFoundError:  # somebody removed it by hand; there is nothing to keep
            return False
        finally:
            content.shared.files.forget(blob)
        if not content.journal.exists():
            content.journal.rewrite(())
        sync_folder(content.folder)
        sync_folder(content.shared.layout.partial)
        sync_folder(content.shared.layout.blobs)
        return True
