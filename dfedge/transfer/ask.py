"""Asking a peer for pieces: requests that wait, requests that are out, and the blocks that come back.

A piece is cut into blocks when they are asked for, as small as the allowance then wants them. Every request is
answered once, by its block or by a reject, even one we gave up on; so nothing is left over, and a block that was not
asked for is a mistake of the peer.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from dfedge.core.errors import ProtocolError
from dfedge.core.seams import Bytes, ImageId, NodeId
from dfedge.core.wire.frame import MAX_BLOCK, Frame, Kind
from dfedge.transfer.channel import BulkChannel
from dfedge.transfer.meter import Meter

SMALL_BLOCK: Final = 64 * 1024  # bytes; on slow links short packets keep queues short
SMALLER_BLOCK: Final = 16 * 1024  # bytes, on very slow ones: the peer's queue lets its other work through
MOST_BLOCKS: Final = 256  # of a piece that is asked for at once: a peer keeps 1,024 requests
SLOW: Final = 250_000  # bytes/s
FAST: Final = 20_000_000  # bytes/s; from here on CPU counts more than queues, and blocks are as large as allowed


class Taker(Protocol):
    """Who wanted the piece."""

    @property
    def image(self) -> ImageId: ...

    @property
    def priority(self) -> int:
        """Who goes first where not all can: the higher."""
        ...

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
    length: int
    blocks: list[Bytes] = field(default_factory=list)
    asked: int = 0  # bytes of it that were asked for
    owed: int = 0  # blocks asked for and not yet here
    dropped: bool = False


class Asker:
    """What we asked of one peer."""

    def __init__(self, peer: NodeId, bulk: BulkChannel) -> None:
        self.peer = peer
        self.bulk = bulk
        self.waiting: deque[Attempt] = deque()  # not asked for in full
        self.outstanding = 0  # bytes asked for and not yet answered
        self.turn: Callable[[], None] | None = None  # whom to tell that something waits; None: all may go at once
        self.gives_way: Callable[[int], bool] = lambda _: False  # whether a priority waits for a higher one
        self._next = 0
        self._out: dict[int, tuple[Attempt, int, Frame]] = {}
        self.meter = Meter()  # bytes of blocks
        self.wasted = 0  # bytes of blocks that were no longer wanted

    def ask(self, taker: Taker, handle: int, piece: int, length: int) -> Attempt:
        """Ask for a whole piece, as soon as it may come."""
        attempt = Attempt(taker, self, handle, piece, length)
        self._queue(attempt)
        if self.turn is None:
            self.send(None)
        else:
            self.turn()
        return attempt

    def _queue(self, attempt: Attempt) -> None:
        """Behind all of its priority, before what has a lower one and has not begun."""
        at = len(self.waiting)
        while at and not (before := self.waiting[at - 1]).asked and before.taker.priority < attempt.taker.priority:
            at -= 1
        self.waiting.insert(at, attempt)

    def send(self, grain: int | None) -> int:
        """Ask for the next that waits: one block of at most `grain` bytes, or all of a piece; returns its bytes."""
        attempt = self.waiting[0]
        block = self._block(attempt.length)
        if grain is not None:
            block = min(block, grain)
        start, requests = attempt.asked, []
        end = attempt.length if grain is None else min(attempt.length, start + block)
        for offset in range(start, end, block):
            frame = Frame(Kind.REQUEST, attempt.handle, self._next, attempt.piece, offset, min(block, end - offset))
            self._out[self._next] = (attempt, len(attempt.blocks), frame)
            attempt.blocks.append(b"")
            self._next = (self._next + 1) & 0xFFFFFFFF
            requests.append(frame.encode())
        attempt.asked = end
        attempt.owed += len(requests)
        self.outstanding += end - start
        if end == attempt.length:
            self.waiting.popleft()
        self.bulk.write(requests)
        return end - start

    def _block(self, length: int) -> int:
        rate = self.meter.rate
        if rate >= FAST:
            return MAX_BLOCK
        return max(SMALLER_BLOCK, length // MOST_BLOCKS) if 0 < rate < SLOW else SMALL_BLOCK

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
            self.outstanding -= answer.length
            if not attempt.dropped:
                attempt.dropped = True
                self._ask_no_more(attempt)
                attempt.taker.on_reject(attempt)

    def take(self, answer: Frame, data: Bytes) -> None:
        """Take the body of a block whose header was expected."""
        attempt, index, _ = self._out.pop(answer.request)
        self.meter.count(len(data))
        attempt.owed -= 1
        self.outstanding -= len(data)
        if attempt.dropped:
            self.wasted += len(data)
        else:
            attempt.blocks[index] = data
            attempt.taker.on_part(attempt, len(data))
            if not attempt.owed and attempt.asked == attempt.length and not attempt.dropped:
                attempt.taker.on_whole(attempt)
        if self.waiting and self.turn is not None:
            self.turn()

    def drop(self, attempt: Attempt) -> None:
        """Give up on an attempt; what of it still comes is counted as wasted."""
        if not attempt.dropped:
            attempt.dropped = True
            self._ask_no_more(attempt)
            self.wasted += sum(len(block) for block in attempt.blocks)
            attempt.blocks.clear()
            attempt.blocks.extend(b"" for _ in range(attempt.owed))

    def _ask_no_more(self, attempt: Attempt) -> None:
        if attempt.asked < attempt.length:
            self.waiting.remove(attempt)
