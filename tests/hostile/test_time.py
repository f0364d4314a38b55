"""Boards whose clock is wrong, or jumps: what is under way goes on, and what is refused says why."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from fleet import Board, Fleet, until

DAY: Final = 86_400
SIZE: Final = 16 * 1024 * 1024


class Moved:
    """A fleet of a seed with the right time and a board with a clock that we move."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.seed, self.board = self.fleet.board("seed"), self.fleet.board("board")
        self.seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "4 MB/s"
        self._file = folder / "clock"
        self.by(0)
        self.board.settings["MOVED_CLOCK"] = str(self._file)
        self.board.settings["PYTHONPATH"] = str(Path(__file__).with_name("clock"))
        self.image = os.urandom(SIZE)
        (folder / "image").write_bytes(self.image)

    def by(self, days: float) -> None:
        """Move the board's clock."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(days * DAY))
        fresh.replace(self._file)

    def publish(self) -> None:
        self.seed.start()
        self.seed.ask("publish", str(self.fleet.folder / "image"), "--name", "image", "--version", "1")

    def is_connected(self) -> bool:
        return "seed" in self.board.connected()

    def check(self) -> None:
        out = self.fleet.folder / "out"
        self.board.ask("get", "image:1", "-o", str(out), "--force")
        assert out.read_bytes() == self.image
        for board in (self.seed, self.board):
            assert "Traceback" not in board.said and "banned" not in board.said


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Moved]:
    moved = Moved(tmp_path)
    try:
        yield moved
    finally:
        moved.fleet.stop()


def test_a_board_that_starts_in_1970_fetches(moved: Moved) -> None:
    moved.by(-time.time() / DAY)  # noqa: TID251
    moved.publish()
    moved.board.start()
    until(moved.is_connected, "the two to be connected")
    moved.check()
    assert moved.board.ask("status")["certificate_days"] > 900


def _held(board: Board) -> int:
    rows = board.ask("ls")["images"]
    return int(rows[0]["have_bytes"]) if rows else 0


def test_a_clock_that_jumps_during_a_transfer_stops_nothing(moved: Moved) -> None:
    moved.publish()
    moved.board.start()
    until(moved.is_connected, "the two to be connected")
    getting = moved.board.popen(["get", "image:1"], subprocess.DEVNULL, subprocess.PIPE)
    for days in (400, -400, 3650, 0):
        before = _held(moved.board)
        moved.by(days)
        until(lambda before=before: _held(moved.board) > before or getting.poll() is not None, f"bytes at {days} days")  # type: ignore[misc]
        assert moved.is_connected()
    _, said = getting.communicate(timeout=60)
    assert getting.returncode == 0, said
    assert moved.board.said.count("disconnected peer=seed") == 0
    moved.check()


def test_ten_years_ahead_a_board_says_that_its_certificate_ended_and_is_well_when_the_clock_is(moved: Moved) -> None:
    moved.publish()
    moved.by(3650)
    done = moved.board.run("agent", timeout=30)
    assert done.returncode == 1
    assert "[untrusted]" in done.stderr and "ended" in done.stderr, done.stderr
    moved.by(0)
    moved.board.start()
    until(moved.is_connected, "the two to be connected")
    moved.check()
