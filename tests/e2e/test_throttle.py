"""The throttle of a running agent: paused, resumed, held by a file, told anew, and asked why."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Board, Fleet, until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
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
    assert board.process is not None
    board.fleet.settings.write_text('[throttle]\nmax_down = "125 kB/s"\n')  # so slow that a busy machine reaches it
    board.process.send_signal(signal.SIGHUP)
    until(lambda: board.ask("status")["throttle"]["max_down"] == 125_000, "the cap to hold")
    fetch = board.popen(["get", "image:1", "--json"], -1, -1)
    source = f"{board.fleet.settings}:2"
    try:
        blamed = f"try: raise throttle.max_down, now 1.0 Mbit/s ({source})"
        until(lambda: blamed in board.run("why").stdout, "the cap to be blamed")
        reasons = board.ask("why", "image:1")["images"][0]["reasons"]
        caps = [(each["value"], each["source"]) for each in reasons if each.get("setting") == "throttle.max_down"]
        assert caps == [(125_000, source)]
        (row,) = board.ask("top", "--once")["images"]
        assert (row["state"], row["peers_open"]) == ("fetching", 1)
        assert seed.ask("top", "--once")["images"][0]["state"] == "seeding"
        shown = board.run("top", "--once").stdout
        assert "limit cap of 1.0 Mbit/s down (throttle.max_down)" in shown and "image:1  fetching" in shown
    finally:
        fetch.kill()
        told, _ = fetch.communicate()
    # Not that the seed spreads its pieces, true as it is.
    assert '"held_back":"the throttle: cap of 1.0 Mbit/s down"' in told


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


def test_a_window_of_the_week_pauses_and_its_end_lets_go_without_a_restart(pair: tuple[Board, Board]) -> None:
    _, board = pair
    settings = board.fleet.settings
    settings.write_text('[throttle]\nwindows = ["00:00-24:00: pause"]\ntime_zone = "UTC"\n')
    assert board.process is not None
    board.process.send_signal(signal.SIGHUP)
    until(lambda: board.ask("throttle", "show")["paused"] == "00:00-24:00", "the window to hold")
    assert "(throttle.windows)" in board.run("throttle", "show").stdout
    settings.write_text('[throttle]\nwindows = ["00:00-24:00: max_down 800 kbit/s"]\n')
    board.process.send_signal(signal.SIGHUP)
    until(lambda: board.ask("status")["throttle"]["max_down"] == 100_000, "the window's cap to hold")


def test_an_urgent_image_overtakes_one_that_is_being_fetched(pair: tuple[Board, Board]) -> None:
    seed, board = pair
    (board.fleet.folder / "urgent").write_bytes(os.urandom(MIB // 2))
    seed.ask("publish", str(board.fleet.folder / "urgent"), "--name", "urgent", "--version", "1")
    slow = board.popen(["get", "image:1", "--priority", "low", "--json"], -1, -1)
    until(lambda: held(board) > 0, "the first to have begun")
    board.ask("get", "urgent:1", "--priority", "high")
    assert slow.poll() is None, "it was to wait, and is done first"
    out, err = slow.communicate(timeout=90)
    assert slow.returncode == 0, (out[-500:], err[-500:])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('windows = ["22:00-06:00: pause"]', "ends before it starts"),
        ('windows = ["08:00-18:00: max_down -5 Mbit/s"]', "is not a rate"),
        ('time_zone = "Mars/Olympus"', "is no time zone"),
        ('metered = ["wwan99"]', "is no interface of this host"),
        ('max_up = "0 %"', "is not a whole number from 1 to 100"),
        ('max_up = "-5 Mbit/s"', "is not a rate"),
        ('max_down = "5 parsecs"', "is not a rate"),
        ('battery_action = "explode"', "is neither slow nor pause"),
    ],
)
def test_settings_that_mean_nothing_are_refused_where_they_stand(tmp_path: Path, line: str, says: str) -> None:
    board = Fleet(tmp_path).board()
    board.fleet.settings.write_text(f"[throttle]\n{line}\n")
    for argv in (["config", "check"], ["agent"]):
        done = board.run(*argv)
        assert done.returncode == 2
        assert f"{board.fleet.settings}:2: throttle.{line.partition(' ')[0]} is wrong" in done.stderr
        assert says in done.stderr


def test_one_image_may_be_bounded_and_the_node_is_not(pair: tuple[Board, Board]) -> None:
    seed, board = pair
    (board.fleet.folder / "other").write_bytes(os.urandom(MIB // 2))
    seed.ask("publish", str(board.fleet.folder / "other"), "--name", "other", "--version", "1")
    slow = board.popen(["get", "image:1", "--max-rate", "100 kB/s"], -1, -1)
    until(lambda: held(board) > 0, "the slow one to have begun")
    board.ask("get", "other:1")
    assert slow.poll() is None, "4 MiB at 100 kB/s take 40 s"
    until(lambda: "its own cap, get --max-rate: 0.8 Mbit/s" in board.run("why", "image:1").stdout, "why to name it")
    slow.kill()
    slow.communicate()
    assert "0 lets nothing pass" in board.run("get", "image:1", "--max-rate", "0 B/s").stderr
