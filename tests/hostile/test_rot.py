"""A seed whose disk rots: nobody stores a wrong byte for it, and it finds and mends the rot by itself."""

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest
from faults.rot import BLOCK, MIB, blobs, flip_blocks, get_all, is_whole, run_case, wrong_blobs
from fleet import Board, Fleet, fleet_of, until


def _rot(board: Board) -> list[dict[str, object]]:
    found: list[dict[str, object]] = board.ask("status")["rot"]
    return found


@pytest.mark.parametrize("running", [False, True], ids=["while it is off", "while it runs"])
def test_a_seed_that_rots_wastes_few_pieces_and_mends_itself(tmp_path: Path, running: bool) -> None:
    found = run_case(tmp_path, running=running, size=4 * MIB, nodes=1, seed=3)
    assert found.wrong == 0 and max(found.wasted) <= (3 if running else 0)
    assert found.pieces > 40 and found.sources


def test_the_scrub_finds_rot_that_nobody_asks_for_and_mends_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        seed, other = fleet.board("seed"), fleet.board("other")
        other.settings["DFEDGE_STORE_SCRUB"] = "1s"
        source = tmp_path / "image"
        source.write_bytes(random.Random(1).randbytes(2 * MIB))
        seed.start().ask("publish", str(source), "--name", "image", "--version", "1")
        other.start()
        get_all([other])
        flip_blocks(blobs(other)[0], 1 / (2 * MIB // BLOCK), random.Random(1))
        until(
            lambda: any(damage["repaired"] for damage in _rot(other)), "the scrub to find it, and the seed to mend it"
        )
        assert is_whole(other)
        (damage,) = _rot(other)
        assert damage["files"] == [{"path": "image", "pieces": 1}] and damage["repaired_from"] == ["seed"]
        assert "rotten image=image:1 file=image pieces=1" in other.said and "repaired image=image:1" in other.said
        assert "1 piece of image:1 (image), found" in other.run("status").stdout
    finally:
        fleet.stop()


def test_what_is_rotten_and_nobody_has_is_said_and_mended_when_somebody_comes(tmp_path: Path) -> None:
    with fleet_of(tmp_path, 2) as (first, second):
        source = tmp_path / "image"
        source.write_bytes(random.Random(2).randbytes(2 * MIB))
        first.ask("publish", str(source), "--name", "image", "--version", "1")
        get_all([second])
        second.stop()
        flip_blocks(blobs(first)[0], 2 / (2 * MIB // BLOCK), random.Random(2))
        assert json.loads(first.run("verify", "--json").stdout)["bad"] == 2
        until(lambda: "pieces of image have rotted" in str(first.ask("status")["degraded"]), "the node to say so")
        first.stop()  # it is not forgotten over a restart
        first.start()
        until(lambda: "pieces of image have rotted" in str(first.ask("status")["degraded"]), "the node to say so")
        second.start()
        until(lambda: is_whole(first), "the node to mend itself")
        until(lambda: first.ask("status")["degraded"] is None, "the node to be well again")


def test_good_pieces_of_a_rotten_seed_are_still_served(tmp_path: Path) -> None:
    """Two seeds that rotted in different places are as good as one that did not."""
    fleet = Fleet(tmp_path)
    try:
        first, second, third = fleet.board(), fleet.board(), fleet.board()
        source = tmp_path / "image"
        source.write_bytes(random.Random(3).randbytes(2 * MIB))
        first.start().ask("publish", str(source), "--name", "image", "--version", "1")
        second.start()
        get_all([second])
        for board in (first, second):
            board.stop()
        for number, board in enumerate((first, second)):
            flip_blocks(blobs(board)[0], 3 / (2 * MIB // BLOCK), random.Random(number))
            board.start()
        third.start()
        until(lambda: len(third.connected()) == 2, "all to be connected")
        for board in (first, second):
            subprocess.Popen.wait(board.popen(["verify"], subprocess.DEVNULL, subprocess.DEVNULL), 30)
        third.ask("get", "image:1", "-o", str(tmp_path / "out"))
        assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
        until(lambda: is_whole(first) and is_whole(second), "both to mend each other")
    finally:
        fleet.stop()


def test_a_card_that_rots_in_many_images_costs_a_node_no_ban(tmp_path: Path) -> None:
    """All that it serves is in doubt with the first bad piece, so a neighbour that fetches all gets no third."""
    fleet = Fleet(tmp_path)
    try:
        rotten, good, taker = fleet.board("rotten").start(), fleet.board("good").start(), fleet.board("taker")
        until(lambda: bool(good.connected()), "both to be connected")
        rng = random.Random(5)
        for version in range(1, 5):
            source = tmp_path / f"image-{version}"
            source.write_bytes(rng.randbytes(MIB))
            rotten.ask("publish", str(source), "--name", "image", "--version", str(version))
            good.ask("get", f"image:{version}")  # which has it prove what it gives
        for blob in blobs(rotten):
            flip_blocks(blob, 0.10, rng)
        taker.start()
        until(lambda: len(taker.connected()) == 2, "all to be connected")
        for version in range(1, 5):
            taker.ask("get", f"image:{version}")
        assert wrong_blobs(taker) == 0 and "banned" not in taker.said and taker.said.count("bad piece peer=") <= 2
        until(lambda: is_whole(rotten), "the rotten node to mend itself")
    finally:
        fleet.stop()


def test_rm_takes_a_rotten_image_that_nobody_can_mend(tmp_path: Path) -> None:
    with fleet_of(tmp_path, 1) as (board,):
        source = tmp_path / "image"
        source.write_bytes(random.Random(4).randbytes(MIB))
        board.ask("publish", str(source), "--name", "image", "--version", "1")
        flip_blocks(blobs(board)[0], 1 / (MIB // BLOCK), random.Random(4))
        board.run("verify")
        until(lambda: bool(board.ask("status")["degraded"]), "the node to say so")
        board.ask("rm", "image:1")
        assert not board.ask("ls")["images"]
        until(lambda: board.ask("status")["degraded"] is None, "the node to be well again")
