"""kill -9 at any moment: what is shown as complete is right, and the same command goes on."""

import hashlib
import os
import random
import signal
import time
from pathlib import Path

from fleet import Board, Fleet, until

MIB = 1024 * 1024


def _right(board: Board, digest: str, folder: Path) -> None:
    """Everything shown as complete is what was published."""
    for row in board.ask("ls")["images"]:
        if row["complete"]:
            out = folder / "check.out"
            board.ask("get", row["image"], "-o", str(out), "--force")
            assert hashlib.sha256(out.read_bytes()).hexdigest() == digest
    assert board.ask("verify")["bad"] == 0


def _kill_gets(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(rounds)
    fleet = Fleet(tmp_path)
    try:
        seed, board = fleet.board(), fleet.board()
        seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "24 MB/s"
        seed.start()
        source = tmp_path / "image"
        source.write_bytes(os.urandom(16 * MIB))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        seed.ask("publish", str(source), "--name", "image", "--version", "1")
        for _ in range(rounds):
            board.start()
            until(lambda: "node-1" in seed.connected(), "node-1 to connect")
            getting = board.popen(["get", "image:1"], -3, -3)
            time.sleep(rng.uniform(0.05, 1.3))  # the moment is what is at random here
            board.stop(signal.SIGKILL)
            getting.wait(30)
        board.start()
        _right(board, digest, tmp_path)
        until(lambda: "node-1" in seed.connected(), "node-1 to connect")
        board.ask("get", "image:1", "-o", str(tmp_path / "out"), "--force")
        assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() == digest
        assert "Traceback" not in board.said
        assert not list((board.state / "partial").iterdir())
    finally:
        fleet.stop()


def test_an_agent_killed_while_it_fetches_shows_nothing_wrong(tmp_path: Path) -> None:
    _kill_gets(tmp_path, 4)


def test_an_agent_killed_while_it_publishes_has_the_image_whole_or_not_at_all(tmp_path: Path) -> None:
    rng = random.Random(5)
    fleet = Fleet(tmp_path)
    try:
        board = fleet.board()
        source = tmp_path / "image"
        source.write_bytes(os.urandom(32 * MIB))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        for number in range(5):
            board.start()
            publishing = board.popen(["publish", str(source), "--name", "image", "--version", str(number)], -3, -3)
            time.sleep(rng.uniform(0.2, 0.8))
            board.stop(signal.SIGKILL)
            publishing.wait(30)
        board.start()
        _right(board, digest, tmp_path)
        assert not list((board.state / "partial").iterdir())
    finally:
        fleet.stop()


def test_a_killed_command_leaves_the_agent_as_it_was(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        board = fleet.board().start()
        source = tmp_path / "image"
        source.write_bytes(os.urandom(64 * MIB))
        publishing = board.popen(["publish", str(source), "--name", "image", "--version", "1"], -3, -3)
        until(lambda: bool(list((board.state / "partial").iterdir())) or publishing.poll() is not None, "a stage")
        publishing.kill()
        publishing.wait(30)
        until(lambda: not list((board.state / "partial").iterdir()), "the stage to be gone")
        assert "Traceback" not in board.said
    finally:
        fleet.stop()
