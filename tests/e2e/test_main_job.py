"""The main job, with real agents: published at one node, complete and proven at all."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Board, Fleet, fleet_of, until

pytestmark = pytest.mark.alone

MIB = 1024 * 1024


def image(path: Path, nbytes: int, seed: int = 1) -> Path:
    """A file that does not compress and is the same each time."""
    block, left = hashlib.shake_256(seed.to_bytes(4, "big")), nbytes
    with path.open("wb") as file:
        file.write(block.digest(left))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[list[Board]]:
    with fleet_of(tmp_path, 3) as found:
        yield found


def test_an_image_published_at_one_node_is_complete_and_right_at_the_others(
    boards: list[Board], tmp_path: Path
) -> None:
    source = image(tmp_path / "gateway.img", 9 * MIB + 17)
    published = boards[0].ask("publish", str(source), "--name", "gateway/os", "--version", "1.0")
    assert published["pieces"] > 100
    for board in boards[1:]:
        target = tmp_path / f"{board.name}.img"
        got = board.ask("get", "gateway/os:1.0", "-o", str(target))
        assert sha256(target) == sha256(source)
        assert got["image"] == published["image"]
        assert got["bytes_total"] == got["bytes_fetched"] == source.stat().st_size
        assert got["bad_pieces"] == []
        assert sum(peer["bytes"] for peer in got["peers"]) == got["bytes_fetched"]
    rows = boards[1].ask("where", "gateway/os")["nodes"]
    assert {row["name"] for row in rows if row["missing_bytes"] == 0} >= {"node-0", "node-1"}


def test_a_folder_keeps_its_paths_and_modes(boards: list[Board], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    image(folder / "sub" / "kernel.bin", 300_001)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    boards[0].ask("publish", str(folder), "--name", "bundle", "--version", "1")
    boards[1].ask("get", "bundle", "-o", f"{tmp_path}/out/")
    assert sha256(tmp_path / "out/sub/kernel.bin") == sha256(folder / "sub/kernel.bin")
    assert (tmp_path / "out/empty").read_bytes() == b""
    assert os.access(tmp_path / "out/run.sh", os.X_OK)


def test_several_files_for_one_place_are_refused_before_any_is_fetched(boards: list[Board], tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    for name in ("kernel", "rootfs"):
        (folder / name).write_text(name)
    boards[0].ask("publish", str(folder), "--name", "pair", "--version", "1")
    done = boards[1].run("get", "pair:1", "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "pair:1: has 2 files; give a folder [refused]\n  try: dfedge get pair:1 -o DIR/" in done.stderr
    assert boards[1].ask("ls")["images"] == [] and not (tmp_path / "out").exists()


def test_publishing_leaves_no_descriptor_open_in_the_agent(boards: list[Board], tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        (folder / str(number)).write_text(str(number))
    before = _descriptors(boards[0])
    boards[0].ask("publish", str(folder), "--name", "many", "--version", "1")
    assert _descriptors(boards[0]) < before + 50


def _descriptors(board: Board) -> int:
    assert board.process is not None
    return len(list(Path(f"/proc/{board.process.pid}/fd").iterdir()))


def test_rot_is_found_said_and_repaired_from_a_neighbour(boards: list[Board], tmp_path: Path) -> None:
    source = image(tmp_path / "rot.img", 2 * MIB)
    boards[0].ask("publish", str(source), "--name", "rot", "--version", "1")
    boards[1].ask("get", "rot:1")
    _rot(boards[1])
    done = boards[1].run("verify", "rot:1")
    assert done.returncode == 1
    assert "1 bad" in done.stdout
    assert "verify --repair" in done.stderr
    until(lambda: boards[1].ask("status")["rot"][-1]["repaired"] is not None, "the node to mend itself")
    assert boards[1].ask("status")["rot"][-1]["repaired_from"] == ["node-0"]
    repaired = boards[1].ask("verify", "rot:1", "--repair")
    assert repaired["incomplete"] == []
    assert repaired["bad"] == 0  # it was found by the command before, and the node may have mended it by itself since
    boards[1].ask("get", "rot:1", "-o", str(tmp_path / "rot.out"))
    assert sha256(tmp_path / "rot.out") == sha256(source)
    _rot(boards[1])
    at_once = boards[1].ask("verify", "rot:1", "--repair")
    assert (at_once["bad"], at_once["repaired"], at_once["incomplete"]) == (1, 1, [])  # whoever was first to mend it


def _rot(board: Board) -> None:
    blob = next(path for path in (board.state / "blobs/sha256").iterdir())
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"rotten")


def test_publishing_the_same_again_changes_nothing_and_an_image_just_fetched_can_be_removed(
    boards: list[Board], tmp_path: Path
) -> None:
    source = image(tmp_path / "again.img", MIB)
    first = boards[0].ask("publish", str(source), "--name", "again", "--version", "1")
    until(lambda: boards[0].ask("status")["uptime"] > 1.5, "another second")
    assert boards[0].ask("publish", str(source), "--name", "again", "--version", "1")["image"] == first["image"]
    boards[1].ask("get", "again:1")
    assert boards[1].run("rm", "again:1").returncode == 0


def test_a_file_that_holds_more_than_it_says_is_refused(boards: list[Board]) -> None:
    done = boards[0].run("publish", "/proc/self/status", "--name", "odd", "--version", "1")
    assert done.returncode == 1
    assert "changed while it was being published" in done.stderr


def test_a_waiting_get_starts_when_the_image_appears(boards: list[Board], tmp_path: Path) -> None:
    source = image(tmp_path / "late.img", MIB)
    waiting = boards[1].popen(["get", "late:1", "--timeout", "30s", "--json"], -1, -1)
    boards[0].ask("publish", str(source), "--name", "late", "--version", "1")
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, (out, err)


def test_a_get_killed_with_its_agent_fetches_nothing_proven_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        seed, board = fleet.board(), fleet.board()
        seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "8 MB/s"
        seed.start()
        board.start()
        until(lambda: "node-1" in seed.connected(), "node-1 to connect")
        source = image(tmp_path / "big.img", 48 * MIB)
        seed.ask("publish", str(source), "--name", "big", "--version", "1")
        getting = board.popen(["get", "big:1"], -3, -3)
        until(lambda: _held(board) > 28 * MIB, "half of the image")
        board.stop(signal.SIGKILL)
        getting.wait(30)
        board.start()
        until(lambda: "node-1" in seed.connected(), "node-1 to connect again")
        target = tmp_path / "big.out"
        got = board.ask("get", "big:1", "-o", str(target))
        assert sha256(target) == sha256(source)
        assert got["bytes_reused"] >= 16 * MIB
        assert got["bytes_reused"] + got["bytes_fetched"] == 48 * MIB
    finally:
        fleet.stop()


def _held(board: Board) -> int:
    return sum(row["have_bytes"] for row in board.ask("ls")["images"])


def test_a_stopped_agent_leaves_nothing_behind_and_ends_cleanly(boards: list[Board]) -> None:
    for board in boards:
        assert board.stop() == 0
        assert "Traceback" not in board.said
        assert not (board.state / "run" / "control.sock").exists()


def test_get_works_without_an_agent(boards: list[Board], tmp_path: Path) -> None:
    source = image(tmp_path / "lone.img", 2 * MIB)
    boards[0].ask("publish", str(source), "--name", "lone", "--version", "1")
    boards[2].stop()
    target = tmp_path / "lone.out"
    boards[2].ask("get", "lone:1", "-o", str(target))
    assert sha256(target) == sha256(source)
    assert [row["name"] for row in boards[2].ask("ls")["images"]] == ["lone"]


def test_an_unknown_name_is_said_with_the_nearest_ones(boards: list[Board], tmp_path: Path) -> None:
    boards[0].ask("publish", str(image(tmp_path / "x", 5000)), "--name", "gateway", "--version", "2.4.1")
    done = boards[1].run("get", "gatewy:2.4.1", "--timeout", "1s")
    assert done.returncode == 1
    assert "[not_found]" in done.stderr
    assert "gateway:2.4.1" in done.stderr


def test_nobody_there_is_said_with_what_was_tried(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        board = fleet.board()
        board.peers = ["127.0.0.1:9"]
        board.start()
        done = board.run("get", "gateway:1", "--timeout", "1s")
        assert done.returncode == 1
        assert "[no_peers]" in done.stderr
        assert "127.0.0.1:9" in done.stderr
    finally:
        fleet.stop()


def test_two_different_images_under_one_name_are_refused_with_both_signers(boards: list[Board], tmp_path: Path) -> None:
    for number, board in enumerate(boards[:2]):
        board.ask("publish", str(image(tmp_path / str(number), 5000, number)), "--name", "twice", "--version", "1")
    done = boards[2].run("get", "twice:1", "--timeout", "5s")
    assert done.returncode == 1
    assert "[refused]" in done.stderr
    assert done.stderr.count("signed by") == 2


def test_a_node_that_is_revoked_loses_its_session_and_gets_nothing_more(boards: list[Board], tmp_path: Path) -> None:
    boards[0].ask("publish", str(image(tmp_path / "x", 5000)), "--name", "secret", "--version", "1")
    assert boards[0].run("fleet", "revoke", "node-2").returncode == 0
    until(lambda: boards[0].connected() == {"node-1"}, "node-2 to be out")
    done = boards[2].run("get", "secret:1", "--timeout", "4s")
    assert done.returncode == 1, done.stdout
    assert not [row for row in boards[2].ask("ls")["images"] if row["complete"]]


def test_a_cap_on_downloads_holds_and_snubs_nobody(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        seed, board = fleet.board(), fleet.board()
        board.settings["DFEDGE_THROTTLE_MAX_DOWN"] = "1 MB/s"
        seed.start()
        board.start()
        until(lambda: "node-1" in seed.connected(), "node-1 to connect")
        seed.ask("publish", str(image(tmp_path / "slow.img", 4 * MIB)), "--name", "slow", "--version", "1")
        got = board.ask("get", "slow:1")
        assert got["seconds"] > 3.5
        assert "snubbed" not in board.said
    finally:
        fleet.stop()
