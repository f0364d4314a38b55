"""Written bytes that leave early: else other programs wait behind a whole window, half a second on a slow card."""

import os
from pathlib import Path

import pytest

from dfedge.store.early import RUN, EarlyWriting

KIB = 1024


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, offset, length, _advice: told.append((offset, length)))
    return told


def test_the_disk_begins_with_a_run_and_gets_it_in_order(begun: list[tuple[int, int]]) -> None:
    early = EarlyWriting()
    for piece in (9, 3, 2, 8):
        early.wrote(0, piece * 256 * KIB, 256 * KIB)
    assert begun == [(512 * KIB, 512 * KIB), (2048 * KIB, 512 * KIB)]


def test_less_than_a_run_waits_for_more(begun: list[tuple[int, int]]) -> None:
    early = EarlyWriting()
    early.wrote(0, 0, RUN - 1)
    assert begun == []
    early.wrote(0, RUN - 1, 1)
    assert begun == [(0, RUN)]


def test_nothing_is_told_twice_as_that_would_drop_what_peers_ask_for(begun: list[tuple[int, int]]) -> None:
    early = EarlyWriting()
    early.wrote(0, 0, RUN)
    early.wrote(0, RUN, RUN)
    assert begun == [(0, RUN), (RUN, RUN)]


def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    early = EarlyWriting()
    with path.open("w+b") as file:
        for start in range(0, 4 * RUN, RUN // 4):
            os.pwrite(file.fileno(), bytes([start // RUN]) * (RUN // 4), start)
            early.wrote(file.fileno(), start, RUN // 4)
    assert path.read_bytes() == b"".join(bytes([run]) * RUN for run in range(4))
