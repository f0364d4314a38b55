"""Serving blocks: the peer that was sent the least goes first, as the links and the allowance take them."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
import anyio.abc

from dfedge.core.errors import Busy, DfedgeError, ProtocolError
from dfedge.core.seams import Allowance, ImageId, Lane
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.channel import MAX_UNREAD, BulkChannel
from dfedge.transfer.meter import Meter
from dfedge.transfer.pace import Pace
from dfedge.transfer.ports import PieceStore

MAX_QUEUE: Final = 1024  # requests a peer may have waiting: two of the largest pieces in the smallest blocks
MAX_REJECTS: Final = 10_000  # in 10 s; an honest peer has at most MAX_QUEUE on their way when we choke it
MAX_PROOFS: Final = 32  # pieces being re-hashed before their first upload
AT_ONCE: Final = 8  # blocks sent before the event loop has a turn
LAG: Final = 1024 * 1024  # bytes that a peer may catch up when it comes back from a rest
log = logging.getLogger("dfedge.transfer")


class Served(Protocol):
    """The image that a peer's handle stands for, on our side."""

    @property
    def image(self) -> ImageId: ...

    @property
    def store(self) -> PieceStore: ...

    def may_ask(self, line: "Line", piece: int) -> bool:
        """Whether this peer is unchoked and we hold the piece."""
        ...

    def on_rotten(self, piece: int) -> None:
        """A piece of ours does not match its digest any more."""
        ...


@dataclass(slots=True, eq=False)
class Line:
    """What one peer asked of us and is still owed."""

    bulk: BulkChannel
    lane: Lane
    sent: int = 0  # bytes, or as many as others were sent while it rested
    blocked: bool = False  # the transport holds a backlog
    meter: Meter = field(default_factory=Meter)  # bytes of blocks
    queue: deque[tuple[Served, Frame]] = field(default_factory=deque)
    pace: Pace = field(default_factory=lambda: Pace(MAX_REJECTS, "asks for what it may not have", time.monotonic))

    @property
    def ready(self) -> bool:
        """Whether a block may go now."""
        return bool(self.queue) and not self.blocked and not self.bulk.paused

    def reject(self, header: Frame) -> None:
        """Answer that the block will not come."""
        self.bulk.send(Frame(Kind.REJECT, header.handle, header.request, header.piece, header.offset, header.length))

    def turn_down(self, header: Frame) -> None:
        """Reject what the peer may not have now. Raises ProtocolError for a flood, or for answers left unread."""
        self.pace.count()
        if self.bulk.unsent > MAX_UNREAD:
            raise ProtocolError(f"asks on and leaves {self.bulk.unsent:,} bytes of answers unread")
        self.reject(header)

    def forget(self, unwanted: Callable[[Served, Frame], bool]) -> None:
        """Reject what waits and is not wanted any more."""
        waiting, self.queue = self.queue, deque()
        for served, header in waiting:
            if unwanted(served, header):
                self.reject(header)
            else:
                self.queue.append((served, header))


class Uplink:
    """All that we send, over all images and peers: when a request comes, when a link drains, when a wait ends."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._lines: list[Line] = []
        self._level = 0  # bytes sent to the peer that was served last
        self._proofs: anyio.abc.TaskGroup | None = None
        self._proving: set[tuple[int, int]] = set()
        self._proven: dict[int, set[int]] = {}
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None

    async def run(self) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as self._proofs:
            await anyio.sleep_forever()

    @contextmanager
    def line(self, bulk: BulkChannel, address: str) -> Iterator[Line]:
        """The line of the peer at `host:port`, for as long as its session lasts."""
        with self._allowance.lane(address) as lane:
            line = Line(bulk, lane, self._level)
            self._lines.append(line)
            try:
                yield line
            finally:
                line.queue.clear()
                self._lines.remove(line)

    def request(self, line: Line, served: Served, header: Frame) -> None:
        """Queue a peer's request. Raises ProtocolError for one beyond the piece, or too many."""
        manifest = served.store.manifest
        if header.piece >= manifest.pieces or header.offset + header.length > manifest.lengths[header.piece]:
            raise ProtocolError(f"asks for bytes beyond piece {header.piece}")
        if len(line.queue) >= MAX_QUEUE:
            raise ProtocolError(f"asks for more than {MAX_QUEUE:,} blocks at once")
        if not served.may_ask(line, header.piece):
            line.turn_down(header)
            return
        if not line.queue:
            line.sent = max(line.sent, self._level - LAG)
        line.queue.append((served, header))
        self._is_proven(served, header.piece)  # so that the proof is done when its turn comes
        self.pump()

    def pump(self) -> None:
        """Send what may be sent now."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            line, wait = self._next_line()
            if line is None:
                if wait is not None:
                    self._timer = loop.call_later(wait, self._resume)
                return
            self._send(line)
        self._timer = loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._timer = None
        self.pump()

    def _next_line(self) -> tuple[Line | None, float | None]:
        """The line that goes next; or, if all wait for their allowance, the seconds until one need not."""
        soonest: float | None = None
        ready = [line for line in self._lines if line.ready]
        for line in sorted(ready, key=_sent) if len(ready) > 1 else ready:
            served, header = line.queue[0]
            if not self._is_proven(served, header.piece):
                continue
            wait = line.lane.wait(served.image)
            if not wait:
                return line, None
            soonest = wait if soonest is None else min(soonest, wait)
        return None, soonest

    def _is_proven(self, served: Served, piece: int) -> bool:
        """Whether a piece was proven since the start; if not, its proof begins."""
        if piece in self._proven.get(id(served), ()):
            return True
        key = (id(served), piece)
        if key not in self._proving and len(self._proving) < MAX_PROOFS and self._proofs is not None:
            self._proving.add(key)
            self._proofs.start_soon(self._prove, served, piece)
        return False

    async def _prove(self, served: Served, piece: int) -> None:
        good: bool | None = None
        try:
            good = await served.store.prove(piece)
        except DfedgeError as error:  # it can't be told now, which says nothing against the piece
            log.warning("read failed piece=%d error=%s", piece, error)
        finally:
            self._proving.discard((id(served), piece))
        if good:
            self._proven.setdefault(id(served), set()).add(piece)
        else:
            self._reject_piece(served, piece)
            if good is False:
                served.on_rotten(piece)
        self.pump()

    def forget(self, served: Served) -> None:
        """An image is no longer served."""
        self._proven.pop(id(served), None)
        for line in self._lines:
            line.forget(lambda other, _: other is served)

    def doubt(self) -> None:
        """Ask the stores anew whether a piece is proven, before it goes out."""
        self._proven.clear()

    def lose(self, served: Served, gone: Collection[int]) -> None:
        """Some pieces of an image have rotted: those are not sent, and all others are proven anew before they are."""
        self.doubt()
        for line in self._lines:
            line.forget(lambda other, header: other is served and header.piece in gone)

    def _reject_piece(self, served: Served, piece: int) -> None:
        for line in self._lines:
            line.forget(lambda other, header: other is served and header.piece == piece)

    def _send(self, line: Line) -> None:
        served, header = line.queue.popleft()
        try:
            data = served.store.read(header.piece, header.offset, header.length)
        except DfedgeError as error:
            log.warning("read failed piece=%d error=%s", header.piece, error)
            line.reject(header)
            if not isinstance(error, Busy):  # out of descriptors, and not of the piece
                served.on_rotten(header.piece)
            return
        block = Frame(Kind.BLOCK, header.handle, header.request, header.piece, header.offset, header.length)
        line.sent += len(data)
        self._level = line.sent
        line.lane.spend(len(data), served.image)
        line.bulk.send(block, data)
        line.meter.count(len(data))


def _sent(line: Line) -> int:
    return line.sent
