"""Scrubbing: the store is read again bit by bit, so that rot is found while a neighbour still has the good bytes.

How far it came is written once a slice. A file that several images have is read once a round.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import DfedgeError
from dfedge.core.seams import ImageId
from dfedge.store.content import Content
from dfedge.store.fault import told
from dfedge.store.held import Before, Checked, HeldImage
from dfedge.store.idle import be_idle
from dfedge.store.layout import write_synced
from dfedge.store.worker import Workers

DAY: Final = 86_400.0  # seconds
SETTLE: Final = 600.0  # seconds after a start before the first slice: a board has other work then
STILL: Final = 0.25  # of the time between two slices, if the clock can't tell how long ago the last one was
MAX_STATE: Final = 4096  # bytes
log = logging.getLogger("dfedge.store")


@dataclass(frozen=True, slots=True)
class ScrubState:
    """Where the next slice begins, and when the last one ended, in seconds since 1970."""

    image: str = ""  # hex; empty is the beginning
    piece: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What a slice read and found. `round_done` says that the whole store has been read since the round began."""

    pieces: int
    nbytes: int
    bad: int
    round_done: bool


def interval(period: float) -> float:
    """Seconds between two slices of a scrub that reads everything once in `period` seconds: a day at most."""
    return min(DAY, period)


def first_wait(last: float, now: float, every: float) -> float:
    """How long after a start the first slice is due, in seconds; `last` is when one ended, 0.0 for never.

    A clock that stands or went back tells nothing; one that jumped ahead brings one slice, not many.
    """
    if not last:
        return every
    passed = now - last
    wait = every - passed if passed > 0 else every * STILL
    return max(min(SETTLE, every * STILL), min(every, wait))


class Scrubber:
    """Reads the pieces of a store in the order of image and piece, from where it stopped."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], float],
        images: Callable[[], Sequence[ImageId]],
        open_image: Callable[[ImageId], tuple[HeldImage, Content] | None],
        is_first: Callable[[ImageId, bytes], bool],
        fault: Callable[[str, OSError], DfedgeError],
    ) -> None:
        """`is_first` says whether an image is the first of those that have a file: it is read as part of that one.

        `fault` is told of what the disk did, and says what a user is told.
        """
        self._path = path
        self._now = now
        self._images = images
        self._open = open_image
        self._is_first = is_first
        self.fault = fault
        self.state = _read(path)

    @told("can't be scrubbed")
    async def slice(self, share: float, before: Before) -> Slice:
        """Read the next `share` (0.0 to 1.0) of the store; `before` is awaited for each piece.

        Raises NoSpace, Busy or Corrupt where the disk fails; if only the state could not be written, the same slice
        comes again after a restart.
        """
        left = max(1, math.ceil(self._total() * share))
        pieces = nbytes = bad = 0
        at: tuple[str, int] | None = (self.state.image, self.state.piece)
        workers = Workers(threads=1, prepare=be_idle)
        try:
            while at is not None and nbytes < left:
                at, found = await self._step(at, left - nbytes, workers, before)
                pieces, nbytes, bad = pieces + found.pieces, nbytes + found.nbytes, bad + len(found.bad)
        finally:
            workers.close()
        image, piece = at or ("", 0)
        self.state = ScrubState(image, piece, self._now())
        write_synced(self._path, json.dumps(asdict(self.state)).encode())
        return Slice(pieces, nbytes, bad, round_done=at is None)

    @told("can't be read")
    async def image(self, image: ImageId, before: Before) -> Checked:
        """Read all of one image, whoever else has its files. Raises Busy or Corrupt where the disk fails."""
        opened = self._open(image)
        if opened is None:
            return Checked(0, 0, ())
        workers = Workers(threads=1, prepare=be_idle)
        try:
            return await opened[0].check(list(opened[0].holds), workers, before)
        finally:
            workers.close()

    async def _step(
        self, at: tuple[str, int], left: int, workers: Workers, before: Before
    ) -> tuple[tuple[str, int] | None, Checked]:
        """Read on in one image; returns where to go on, none at the end of the round."""
        image = next((one for one in sorted(self._images()) if one.hex() >= at[0]), None)
        if image is None:
            return None, Checked(0, 0, ())
        opened = self._open(image)
        after = (image.hex() + "0", 0)  # behind this image and before every other
        if opened is None:
            return after, Checked(0, 0, ())
        held, content = opened
        todo: list[int] = []
        for piece in self._own_pieces(content, at[1] if image.hex() == at[0] else 0):
            if left <= 0:
                after = (image.hex(), piece)
                break
            todo.append(piece)
            left -= content.manifest.piece(piece).length
        return after, await held.check(todo, workers, before)

    def _own_pieces(self, content: Content, first: int) -> Iterator[int]:
        for body in content.bodies:
            pieces = body.copies[0]
            if pieces.stop > first and (not body.whole or self._is_first(content.image, body.digest)):
                yield from (piece for piece in pieces if piece >= first and piece in content.holds)

    def _total(self) -> int:
        """Bytes that a round reads."""
        total = 0
        for image in self._images():
            opened = self._open(image)
            if opened is not None:
                content = opened[1]
                total += sum(
                    content.manifest.piece(piece).length
                    for piece in self._own_pieces(content, 0)
                )  # fmt: skip
        return total


def _read(path: Path) -> ScrubState:
    """What the file says; from the beginning where it says nothing sensible."""
    try:
        with path.open("rb") as file:
            match json.loads(file.read(MAX_STATE)):
                case {"image": str(image), "piece": int(piece), "at": float(at)} if piece >= 0 and at >= 0:
                    return ScrubState(image, piece, at)
    except (OSError, ValueError, RecursionError):
        pass
    return ScrubState()
