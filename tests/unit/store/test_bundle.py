"""A part of a bundle as a hostile or broken stick gives it: no bomb is allocated, no link followed, no end overrun."""

import os
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt, Refused
from dfedge.core.image.bundle import LENGTH, MAGIC, MAX_STATEMENT, RECORD, Kind, PartHeader
from dfedge.store.bundle import PartReader, PartWriter, Place, open_regular

HEADER = PartHeader("fleet", bytes(16), 1)


def _reader(path: Path, data: bytes) -> PartReader:
    path.write_bytes(data)
    fd = open_regular(path)
    assert fd is not None
    try:
        return PartReader(fd, path.name)
    except BaseException:
        os.close(fd)
        raise


def _all(_place: Place) -> bool:
    return True


def test_what_was_written_is_read_and_pieces_that_nobody_wants_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "part"
    writer = PartWriter(os.open(path, os.O_RDWR | os.O_CREAT), HEADER)
    writer.add(Kind.ROOT, b"root")
    for number in range(3):
        writer.add(Kind.PIECE, LENGTH.pack(number), b"bytes %d" % number)
    writer.add(Kind.END)
    writer.end()
    writer.close()
    assert writer.size == path.stat().st_size
    reader = _reader(path, path.read_bytes())
    assert reader.header == HEADER
    found = [reader.next(lambda place: place.piece == 2) for _ in range(3)]
    reader.close()
    assert [(record.kind, record.payload, record.piece) for record in found] == [
        (Kind.ROOT, b"root", 0),
        (Kind.PIECE, b"bytes 2", 2),
        (Kind.END, b"", 0),
    ]


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (RECORD.pack(Kind.ROOT, MAX_STATEMENT + 1), ValueError),
        (RECORD.pack(Kind.PIECE, 2**32 - 1), ValueError),
        (RECORD.pack(Kind.PIECE, 0), ValueError),
        (RECORD.pack(99, 1) + b"x", ValueError),
        (RECORD.pack(Kind.PIECE, 1_000_004) + LENGTH.pack(0) + b"not a million", EOFError),
        (RECORD.pack(Kind.MANIFEST, 16_000_000), EOFError),
        (b"\x04", EOFError),
        (b"", EOFError),
    ],
)
def test_a_record_over_its_limit_or_the_file_is_told_before_it_is_read(
    tmp_path: Path, record: bytes, error: type[Exception]
) -> None:
    reader = _reader(tmp_path / "part", HEADER.encode() + record)
    with pytest.raises(error):
        reader.next(_all)
    reader.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"text", MAGIC, MAGIC + LENGTH.pack(2**32 - 1), HEADER.encode()[:-1], MAGIC + LENGTH.pack(3) + b"abc"],
)
def test_what_is_no_bundle_is_told_at_its_first_bytes(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Corrupt, match="part"):
        _reader(tmp_path / "part", data)


def test_links_devices_pipes_and_folders_are_no_parts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "link", tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(Refused):
            open_regular(path)
    assert open_regular(tmp_path / "nothing") is None
