"""Importing: each piece is announced to who paces the disk before it is written."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from dfedge.core.image.bundle import Kind
from dfedge.core.image.outcome import Outcome
from dfedge.core.seams import Bytes, ImageId
from dfedge.jobs.bundle_import import Importer, Taken
from dfedge.store.bundle import Record

pytestmark = pytest.mark.anyio


class _Source:
    """A bundle of three pieces."""

    def __init__(self) -> None:
        self.left = [Record(Kind.PIECE, bytes(1000 * (piece + 1)), piece) for piece in range(3)]

    async def next(self, _wants: Callable[[Any], bool]) -> Record | None:
        return self.left.pop(0) if self.left else None


class _Partial:
    held_bytes = 0

    def __init__(self, happened: list[tuple[str, int]]) -> None:
        self._happened = happened

    async def put(self, _piece: int, blocks: Sequence[Bytes]) -> Outcome:
        self._happened.append(("written", len(blocks[0])))
        return Outcome.STORED


async def test_no_piece_of_a_stick_is_written_before_the_disk_may_be_used() -> None:
    happened: list[tuple[str, int]] = []

    async def before_write(nbytes: int) -> None:
        happened.append(("asked", nbytes))

    async def report(_taken: Taken) -> None: ...

    nothing = cast("Any", None)
    importer = Importer(nothing, nothing, nothing, nothing, lambda: 0.0, before_write)
    taken = Taken(ImageId(bytes(32)), "gateway", "1", "", 6000)
    source, partial = cast("Any", _Source()), cast("Any", _Partial(happened))
    assert await importer._pieces(source, partial, nothing, taken, report) is None
    for nbytes in (1000, 2000, 3000):
        assert happened.index(("asked", nbytes)) < happened.index(("written", nbytes))
