"""Asking a peer for pieces: requests that are out, and the blocks that come back.

Every request is answered once, by its block or by a reject, even one we gave up on; so nothing is left over, and a
block that was not asked for is a mistake of the peer.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

from dfedge.core.errors import ProtocolError
from dfedge.core.seams import Bytes, NodeId
from dfedge.core.wire.frame import MAX_BLOCK, Frame, Kind
from dfedge.transfer.channel import BulkChannel
from dfedge.transfer.meter import Meter

SMALL_BLOCK: Final = 64 * 1024  # bytes; on slow links short packets keep queues short
FAST: Final = 20_000_000  # bytes/s; from here on CPU counts more than queues, and blocks are as large as allowed


class Taker(Protocol):
    """Who wanted the piece."""

    def on_part(self, attempt: "Attempt", nbytes: int) -> None: ...

    def on_whole(self, attempt: "Attempt") -> None: ...

    def on_reject(self, attempt: "Attempt") -> None: ...


@dataclass(slots=True, eq=False)
class Attempt:
    """One piece asked of one peer."""

    taker: Taker
    asker: "Asker"
    handle: int
    piece: int
    blocks: list[Bytes] = field(default_factory=list)
    owed: int = 0  # blocks not yet here
    dropped: bool = False


class Asker:
    """What we asked of one peer."""

    def __init__(self, peer: NodeId, bulk: BulkChannel) -> None:
        self.peer = peer
        self.bulk = bulk
        self._next = 0
        self._out: dict[int, tuple[Attempt, int, Frame]] = {}
        self.meter = Meter()  # bytes of blocks
        self.wasted = 0  # bytes of blocks that were no longer wanted

    def ask(self, taker: Taker, handle: int, piece: int, length: int) -> Attempt:
        """Ask for a whole piece, block by block."""
        block = MAX_BLOCK if self.meter.rate >= FAST else SMALL_BLOCK
        attempt = Attempt(taker, self, handle, piece)
        requests = []
        for offset in range(0, length, block):
            header = Frame(Kind.REQUEST, handle, self._next, piece, offset, min(block, length - offset))
            self._out[self._next] = (attempt, len(attempt.blocks), header)
            attempt.blocks.append(b"")
            self._next = (self._next + 1) & 0xFFFFFFFF
            requests.append(header.encode())
        self.bulk.write(requests)
        attempt.owed = len(attempt.blocks)
        return attempt

    def expect(self, answer: Frame) -> None:
        """Check an answer's header before its body is taken. Raises ProtocolError."""
        known = self._out.get(answer.request)
        if known is None:
            raise ProtocolError(f"answers request {answer.request}, which we did not make")
        asked = known[2]
        if (answer.handle, answer.piece, answer.offset, answer.length) != (
            asked.handle,
            asked.piece,
            asked.offset,
            asked.length,
        ):
            raise ProtocolError(f"answers request {answer.request} with another block than asked")
        if answer.kind is Kind.REJECT:
            attempt, _, _ = self._out.pop(answer.request)
            attempt.owed -= 1
            if not attempt.dropped:
                attempt.dropped = True
                attempt.taker.on_reject(attempt)

    def take(self, answer: Frame, data: Bytes) -> None:
        """Take the body of a block whose header was expected."""
        attempt, index, _ = self._out.pop(answer.request)
        self.meter.count(len(data))
        attempt.owed -= 1
        if attempt.dropped:
            self.wasted += len(data)
            return
        attempt.blocks[index] = data
        attempt.taker.on_part(attempt, len(data))
        if not attempt.owed and not attempt.dropped:
            attempt.taker.on_whole(attempt)

    def drop(self, attempt: Attempt) -> None:
        """Give up on an attempt; what of it still comes is counted as wasted."""
        if not attempt.dropped:
            attempt.dropped = True
            self.wasted += sum(len(block) for block in attempt.blocks)
            attempt.blocks.clear()
            attempt.blocks.extend(b"" for _ in range(attempt.owed))

    @property
    def outstanding(self) -> int:
        """Bytes asked for and not yet answered."""
        return sum(frame.length for _, _, frame in self._out.values())
