"""Importing: each piece is announced to who paces the disk before it is written."""

from collections.abc import Callable
from typing import Any, cast

import anyio.lowlevel
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

    def read_piece(self, _wants: Callable[[Any], bool]) -> tuple[int, bytes] | None:
        if not self.left:
            return None
        record = self.left.pop(0)
        return record.piece, record.payload


class _Partial:
    held_bytes = 0

    def __init__(self, happened: list[tuple[str, int]]) -> None:
        self._happened = happened

    async def put_next(self, read: Callable[[], tuple[int, Bytes] | None]) -> tuple[int, int, Outcome] | None:
        found = read()
        if found is None:
            return None
        piece, data = found
        self._happened.append(("written", len(data)))
        return piece, len(data), Outcome.MISMATCH if piece == 1 else Outcome.STORED


async def test_no_piece_of_a_stick_is_written_before_the_disk_may_be_used() -> None:
    happened: list[tuple[str, int]] = []

    async def before_write(nbytes: int) -> None:
        happened.append(("asked", nbytes))
        await anyio.lowlevel.checkpoint()

    async def report(_taken: Taken) -> None: ...

    nothing = cast("Any", None)
    importer = Importer(nothing, nothing, nothing, nothing, lambda: 0.0, before_write)
    taken = Taken(ImageId(bytes(32)), "gateway", "1", "", 6000)
    source, partial = cast("Any", _Source()), cast("Any", _Partial(happened))
    assert await importer._pieces(source, partial, nothing, taken, report) is None
    written = [nbytes for what, nbytes in happened if what == "written"]
    assert sorted(written) == [1000, 2000, 3000]
    assert sum(nbytes for what, nbytes in happened if what == "asked") == sum(written)
    for at, (what, _) in enumerate(happened):
        if what == "written":
            done = sum(each == "written" for each, _ in happened[:at])
            assert sum(each == ("asked", 0) for each in happened[:at]) > done  # of its own, before it
    assert taken.bad == [1]
