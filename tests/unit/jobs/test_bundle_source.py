"""Pieces of a bundle read by several threads: each comes once, and what ends them is told to whoever asks next."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dfedge.core.image.bundle import LENGTH, Kind, PartHeader
from dfedge.jobs.bundle_source import Source
from dfedge.store.bundle import PartWriter, Place, open_regular

pytestmark = pytest.mark.anyio

FLEET = "site"


def _all(_place: Place) -> bool:
    return True


def _bundle(folder: Path, *parts: range) -> Callable[[int], Path]:
    """A bundle with these pieces in its parts."""
    for number, pieces in enumerate(parts, 1):
        fd = os.open(folder / str(number), os.O_RDWR | os.O_CREAT)
        writer = PartWriter(fd, PartHeader(FLEET, bytes(16), number))
        for piece in pieces:
            writer.add(Kind.PIECE, LENGTH.pack(piece), b"piece %d" % piece)
        writer.add(Kind.NEXT if number < len(parts) else Kind.END)
        writer.end()
        writer.close()
    return lambda number: folder / str(number)


def _source(place: Callable[[int], Path]) -> Source:
    async def open_part(number: int) -> int | None:
        return open_regular(place(number))

    return Source(FLEET, open_part)


def _read_all(source: Source) -> list[tuple[int, bytes]]:
    found = []
    while (piece := source.read_piece(_all)) is not None:
        found.append(piece)
    return found


async def test_threads_that_read_a_stick_together_get_each_piece_once_in_whatever_part(tmp_path: Path) -> None:
    source = _source(_bundle(tmp_path, range(100), range(100, 150)))
    found: list[tuple[int, bytes]] = []
    while (record := await source.next(_all)) is not None:
        assert record.kind is Kind.PIECE
        found.append((record.piece, record.payload))
        with ThreadPoolExecutor(3) as threads:
            for some in threads.map(lambda _: _read_all(source), range(3)):
                found += some
    source.close()
    assert sorted(found) == [(piece, b"piece %d" % piece) for piece in range(150)]
    assert source.cut == ""


async def test_a_stick_that_gives_out_between_pieces_is_named_with_its_part_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(_bundle(tmp_path, range(3)))
    assert (await source.next(_all)) is not None

    def pread(_fd: int, _length: int, _at: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        assert source.read_piece(_all) is None
    assert source.read_piece(_all) is None  # nobody reads on after what failed
    assert await source.next(_all) is None
    source.close()
    assert source.cut == "part 1 can't be read: input/output error"
