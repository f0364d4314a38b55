"""Channels and images of the wire's own tests: what goes out is kept, nothing is sent."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from dfedge.core.image.cutter import cut
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes, ImageId
from dfedge.core.wire.frame import HEADER, Frame
from dfedge.transfer.channel import BulkChannel

PIECE = 64 * 1024


class Bulk(BulkChannel):
    """Keeps the frames that it is given."""

    def __init__(self) -> None:
        super().__init__("bulk")
        self.sent: list[tuple[Frame, bytes]] = []

    def write(self, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        while data:
            frame = Frame.decode(data[:HEADER])
            body = data[HEADER : HEADER + frame.length] if frame.kind.name == "BLOCK" else b""
            self.sent.append((frame, body))
            data = data[HEADER + len(body) :]


class Image:
    """An image in memory, of which all pieces are held; those in `rotten` do not prove."""

    def __init__(self, pieces: int) -> None:
        size = pieces * PIECE
        entry = FileEntry("a", size, bytes(32), "x", 0o644, cut(size, PIECE), bytes(32 * pieces))
        self.manifest = Manifest("f", "image", "1", (), 1, (entry,))
        self.holds = PieceMap.full(pieces)
        self.held_bytes = size
        self.rotten: set[int] = set()
        self.proofs = 0
        self.doubts = 0

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        return Outcome.DUPLICATE

    def twins(self, piece: int) -> Iterable[int]:
        return (piece,)

    async def prove(self, piece: int) -> bool:
        self.proofs += 1
        return piece not in self.rotten

    async def recheck(self, piece: int) -> bool:
        return piece not in self.rotten

    def doubt(self) -> None:
        self.doubts += 1

    def read(self, piece: int, offset: int, length: int) -> bytes:
        return piece.to_bytes(1, "big") * length


class Lane:
    """Lets bytes pass after the waits that a test gives, each once."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.spent = 0
        self.grain: int | None = None
        self.ahead: int | None = None

    def wait(self, image: ImageId) -> float:
        return self.waits.pop(0) if self.waits else 0.0

    def spend(self, nbytes: int, image: ImageId) -> None:
        self.spent += nbytes


class Allowance:
    """One lane for everybody."""

    def __init__(self) -> None:
        self.one = Lane()

    @contextmanager
    def lane(self, address: str) -> Iterator[Lane]:
        yield self.one
