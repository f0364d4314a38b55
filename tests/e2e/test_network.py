"""Networks as they are: multicast blocked, links that flap, addresses that change, IPv6 alone, a cloned card."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab
import pytest
from fleet import Board, Fleet, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]
MIB = 1024 * 1024


@contextmanager
def boards_in(lan: lab.Lan, folder: Path, count: int) -> Iterator[list[Board]]:
    """Boards with running agents in a LAN; they find each other by mDNS alone."""
    fleet = Fleet(folder, lan)
    try:
        boards = [fleet.board() for _ in range(count)]
        for board in boards:
            board.start()
        yield boards
    finally:
        fleet.stop()


def _all_connected(boards: list[Board]) -> bool:
    return all(len(board.connected()) >= len(boards) - 1 for board in boards)


def _publish(board: Board, folder: Path, mib: int = 4) -> Path:
    source = folder / "image"
    source.write_bytes(os.urandom(mib * MIB))
    board.ask("publish", str(source), "--name", "image", "--version", "1")
    return source


def _same(one: Path, other: Path) -> bool:
    return hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def test_nodes_find_each_other_by_mdns_and_survive_a_flapping_link_and_a_new_address(tmp_path: Path) -> None:
    with lab.Lan("flap", 3) as lan, boards_in(lan, tmp_path, 3) as boards:
        until(lambda: _all_connected(boards), "all to be connected by mDNS")
        source = _publish(boards[0], tmp_path)
        lan.link_down(2)
        until(lambda: boards[0].connected() == {"node-1"}, "the cut-off node to be missed", 60)
        lan.link_up(2)
        until(lambda: _all_connected(boards), "the cut-off node to be back", 60)
        lan.change_address(2)
        boards[2].ask("get", "image:1", "-o", str(tmp_path / "out"), "--timeout", "60s", timeout=90)
        assert _same(tmp_path / "out", source)
        assert all("Traceback" not in board.said for board in boards)


def test_ipv6_link_local_addresses_are_enough(tmp_path: Path) -> None:
    with lab.Lan("six", 2, ipv6_only=True) as lan, boards_in(lan, tmp_path, 2) as boards:
        until(lambda: _all_connected(boards), "both to be connected over link-local IPv6")
        source = _publish(boards[0], tmp_path)
        boards[1].ask("get", "image:1", "-o", str(tmp_path / "out"))
        assert _same(tmp_path / "out", source)
        addresses = [row["addresses"][0] for row in boards[1].ask("peers")["peers"]]
        assert addresses[0].startswith("[fe80::")


def test_listed_peers_do_where_multicast_is_blocked(tmp_path: Path) -> None:
    with lab.Lan("quiet", 2) as lan:
        lan.block_multicast()
        fleet = Fleet(tmp_path, lan)
        try:
            first, second = fleet.board(), fleet.board()
            second.peers = [f"{lan.address(0)}:7411"]
            first.start()
            second.start()
            until(lambda: _all_connected([first, second]), "the listed peer to be connected")
            source = _publish(first, tmp_path)
            second.ask("get", "image:1", "-o", str(tmp_path / "out"))
            assert _same(tmp_path / "out", source)
        finally:
            fleet.stop()


def test_two_boards_with_one_key_are_told_apart_and_both_sides_are_warned(tmp_path: Path) -> None:
    with lab.Lan("clone", 3) as lan:
        fleet = Fleet(tmp_path, lan)
        try:
            first, card = fleet.board("first"), fleet.board("card")
            clone = Board(fleet, "clone", 7411, lan, 2)
            shutil.copytree(card.state, clone.state)
            fleet.boards.append(clone)
            first.start()
            card.start()
            until(lambda: first.connected() == {"card"}, "the first card to be connected")
            clone.start()
            until(lambda: "cloned card" in first.said, "the clone to be noticed")
            until(lambda: "two nodes run under one key" in str(first.ask("status")["degraded"]), "status to say so")
            assert first.connected() == {"card"}
            until(lambda: "another node runs under" in card.said, "the older card to be warned")
        finally:
            fleet.stop()


def test_nodes_finish_among_themselves_when_the_publisher_is_gone_once_the_first_is_done(tmp_path: Path) -> None:
    with lab.Lan("half", 4, 40) as lan, boards_in(lan, tmp_path, 4) as boards:
        until(lambda: _all_connected(boards), "all to be connected")
        source = _publish(boards[0], tmp_path, 16)
        gets = [board.popen(["get", "image:1", "--json"], -1, -1) for board in boards[1:]]
        until(lambda: any(get.poll() is not None for get in gets), "the first to be done", 60)
        boards[0].stop(9)
        for process in gets:
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, (out[-500:], err[-500:])
        for board in boards[1:]:
            board.ask("get", "image:1", "-o", str(tmp_path / board.name))
            assert _same(tmp_path / board.name, source)


def test_nodes_that_list_only_one_meet_the_others_through_it(tmp_path: Path) -> None:
    with lab.Lan("star", 4) as lan:
        lan.block_multicast()
        fleet = Fleet(tmp_path, lan)
        try:
            boards = [fleet.board() for _ in range(4)]
            for board in boards[1:]:
                board.peers = [f"{lan.address(0)}:7411"]
            for board in boards:
                board.start()
            until(lambda: _all_connected(boards), "all to have met through the one that they list", 60)
            assert {row["via"] for row in boards[3].ask("peers")["peers"]} == {"static", "pex"}
        finally:
            fleet.stop()


def test_a_node_that_is_alone_among_another_fleet_hears_so(tmp_path: Path) -> None:
    """Who enrolled it in the wrong fleet would else look for the fault in the network."""
    with lab.Lan("foreign", 2) as lan:
        fleets = []
        for name in ("ours", "theirs"):
            (tmp_path / name).mkdir()
            fleets.append(Fleet(tmp_path / name, lan))
        try:
            one, _ = fleets[0].board("one"), fleets[1].board("unused")
            fleets[1].board("other").start()
            one.start()
            until(lambda: "1 node of other fleets" in one.run("peers").stderr, "the other fleet to be heard of")
            assert one.ask("peers")["foreign"] == 1
            assert "(heard there: 1 of other fleets)" in one.run("get", "image:1", "--timeout", "1s").stderr
        finally:
            for fleet in fleets:
                fleet.stop()
