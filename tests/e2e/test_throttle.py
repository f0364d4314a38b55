"""The throttle of a running agent: paused, resumed, held by a file, told anew, and asked why."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Board, Fleet, until

pytestmark = pytest.mark.timeout(120)
MIB = 1024 * 1024


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Board, Board]]:
    """A seed of an image of 4 MiB, and a board that may fetch 500 kB/s."""
    fleet = Fleet(tmp_path)
    try:
        seed, board = fleet.board(), fleet.board()
        fleet.settings.write_text('[throttle]\nmax_down = "500 kB/s"\n')
        seed.start()
        board.start()
        until(lambda: board.name in seed.connected(), "the two to be connected")
        (tmp_path / "image").write_bytes(os.urandom(4 * MIB))
        seed.ask("publish", str(tmp_path / "image"), "--name", "image", "--version", "1")
        yield seed, board
    finally:
        fleet.stop()


def held(board: Board) -> int:
    return sum(int(row["have_bytes"]) for row in board.ask("ls")["images"])


def test_a_paused_node_moves_nothing_and_goes_on_when_it_is_resumed(pair: tuple[Board, Board]) -> None:
    _, board = pair
    assert board.ask("throttle", "pause", "--dry-run")["paused"] is None
    assert "by command" in board.ask("throttle", "pause", "2h")["paused"]
    fetch = board.popen(["get", "image:1", "--json"], -1, -1)
    until(lambda: bool(board.ask("why")["images"]), "the fetch to have begun")
    why = board.run("why", "image:1")
    assert "paused: by command" in why.stdout
    assert held(board) == 0 and fetch.poll() is None
    assert "paused" in board.run("status").stdout
    assert board.ask("throttle", "resume")["paused"] is None
    out, err = fetch.communicate(timeout=60)
    assert fetch.returncode == 0, (out[-500:], err[-500:])


def test_a_cap_is_what_why_blames_and_top_shows_it_while_it_holds(pair: tuple[Board, Board]) -> None:
    seed, board = pair
    fetch = board.popen(["get", "image:1", "--json"], -1, -1)
    until(lambda: board.ask("top", "--once")["rate_down"] > 350_000, "the fetch to be as fast as it may")
    (image,) = board.ask("why", "image:1")["images"]
    first = image["reasons"][0]
    assert (first["setting"], first["value"]) == ("throttle.max_down", 500_000)
    assert first["source"] == f"{board.fleet.settings}:2"
    assert f"try: raise throttle.max_down, now 4.0 Mbit/s ({first['source']})" in board.run("why").stdout
    (row,) = board.ask("top", "--once")["images"]
    assert (row["state"], row["peers_open"]) == ("fetching", 1)
    assert "cap of 4.0 Mbit/s down" in row["limited_by"], row
    assert seed.ask("top", "--once")["images"][0]["state"] == "seeding"
    shown = board.run("top", "--once").stdout
    assert "limit cap of 4.0 Mbit/s down (throttle.max_down)" in shown and "image:1  fetching" in shown
    _, err = fetch.communicate(timeout=60)
    assert fetch.returncode == 0, err[-500:]


def test_a_cap_in_the_file_holds_a_second_after_sighup_and_a_wrong_one_changes_nothing(
    pair: tuple[Board, Board],
) -> None:
    _, board = pair
    assert board.ask("throttle", "show")["policy"]["max_down"] == 500_000
    settings = board.fleet.settings
    settings.write_text('[throttle]\nmax_down = "0 kB/s"\n')
    assert board.process is not None
    board.process.send_signal(signal.SIGHUP)
    until(lambda: "settings not read again" in board.said, "the agent to say that the file is wrong")
    assert f"{settings}:2: throttle.max_down is wrong" in board.said
    settings.write_text('[throttle]\nmax_down = "80 Mbit/s"\n[store]\nquota = "1 GiB"\n')
    board.process.send_signal(signal.SIGHUP)
    until(lambda: board.ask("status")["throttle"]["max_down"] == 10_000_000, "the new cap to hold")
    assert "next start on settings=store.quota" in board.said


def test_an_application_holds_transfers_back_with_a_file(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        board = fleet.board()
        board.settings["DFEDGE_THROTTLE_HOLD_FILE"] = str(tmp_path / "hold")
        (tmp_path / "hold").touch()
        board.start()
        until(lambda: bool(board.ask("throttle", "show")["paused"]), "the file to be seen")
        assert f"{tmp_path / 'hold'} exists" in board.run("throttle", "show").stdout
        (tmp_path / "hold").unlink()
        until(lambda: board.ask("throttle", "show")["paused"] is None, "transfers to be let go")
    finally:
        fleet.stop()
