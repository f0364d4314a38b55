"""Lies on the LAN about nodes that live: their names at other addresses, goodbyes that they never said."""

import os
import sys
from pathlib import Path

import lab
import pytest
from fleet import Board, Fleet, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

LIE = """
import sys, time
from faults.liar import GROUP, claim, mouth
own, tag, *nodes = sys.argv[1:]
out = mouth(own)
for turn in range(20):
    for node in nodes:
        label, _, identity = node.partition("=")
        out.sendto(claim(label, tag, identity, own), GROUP)         # it is here, where nobody answers
        out.sendto(claim(label, tag, "a" * 52, own), GROUP)         # another node has its name
        out.sendto(claim(label, tag, identity, own, 0), GROUP)      # it is gone
    time.sleep(0.1)
"""


def _lie(lan: lab.Lan, boards: list[Board]) -> None:
    status = [board.ask("status") for board in boards]
    nodes = [f"{each['node']['name']}={each['node']['id']}" for each in status]
    scripts = str(Path(lab.__file__).parents[1])
    done = lan.run(
        2, [sys.executable, "-c", LIE, lan.address(2), status[0]["fleet"][:8], *nodes], {"PYTHONPATH": scripts}
    )
    assert done.returncode == 0, done.stderr


def test_lies_about_living_nodes_end_no_session_and_keep_nobody_from_coming_back(tmp_path: Path) -> None:
    with lab.Lan("lies", 3) as lan:
        fleet = Fleet(tmp_path, lan)
        try:
            seed, board = fleet.board("seed"), fleet.board("board")
            for each in (seed, board):
                each.start()
            until(lambda: "seed" in board.connected(), "the two to be connected")
            (tmp_path / "image").write_bytes(os.urandom(1024 * 1024))
            seed.ask("publish", str(tmp_path / "image"), "--name", "image", "--version", "1")
            _lie(lan, [seed, board])
            assert "seed" in board.connected()
            assert "disconnected peer=" not in seed.said + board.said
            board.stop()
            board.start()
            until(lambda: "seed" in board.connected(), "the two to be connected again")
            board.ask("get", "image:1", "-o", str(tmp_path / "out"))
            assert (tmp_path / "out").read_bytes() == (tmp_path / "image").read_bytes()
            for each in (seed, board):
                assert "Traceback" not in each.said and "banned" not in each.said
                assert each.said.count("event=mdns_name_taken") <= 2
        finally:
            fleet.stop()
