"""Neighbours as a user sees them: one row a peer, at the address where it listens, and holders further away."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, until


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.stop()


def test_where_tells_of_a_holder_that_is_no_neighbour_and_its_share(fleet: Fleet, tmp_path: Path) -> None:
    boards = [fleet.board(f"node-{number}") for number in range(4)]
    for board, following in zip(boards, [*boards[1:], None], strict=True):
        board.peers = [f"127.0.0.1:{following.port}"] if following else []  # a chain
    for board in reversed(boards):
        board.start()
    until(lambda: boards[0].connected() == {"node-1"}, "the first to have its one neighbour")
    until(lambda: boards[2].connected() == {"node-1", "node-3"}, "the chain to be whole")
    source = tmp_path / "image"
    source.write_bytes(os.urandom(1 << 20))
    boards[3].ask("publish", str(source), "--name", "image", "--version", "1")
    [row] = boards[0].ask("where", "image")["nodes"]
    assert (row["name"], row["connected"]) == ("node-3", False)
    assert (row["have_bytes"], row["missing_bytes"]) == (1 << 20, 0)
    [near] = boards[2].ask("where", "image:1")["nodes"]
    assert (near["name"], near["connected"]) == ("node-3", True)
    assert boards[0].run("where", "other", "--timeout", "0.3s").returncode == 1


def test_peers_that_list_each_other_are_one_row_each_at_the_address_where_they_listen(fleet: Fleet) -> None:
    boards = [fleet.board() for _ in range(3)]
    for board in boards:
        board.peers = [f"127.0.0.1:{one.port}" for one in boards]  # one list for the whole fleet, itself included
    for board in boards:
        board.start()
    for board in boards:
        expected = {(one.name, f"127.0.0.1:{one.port}", "connected") for one in boards if one is not board}
        until(lambda: len(board.connected()) == 2, f"{board.name} to be connected")  # noqa: B023 - waited for here
        rows = board.ask("peers")["peers"]
        assert {(row["name"], row["addresses"][0], row["state"]) for row in rows} == expected
        assert len(rows) == len(expected)
