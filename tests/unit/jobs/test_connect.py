"""Keeping connected: a full node exchanges a neighbour while it is idle, and lets one rest that made room."""

import random
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from dfedge.core.seams import NodeId
from dfedge.discovery.neighbour import NEIGHBOURS, REST_S
from dfedge.discovery.roster import Roster, Sighting
from dfedge.jobs import connect
from dfedge.jobs.connect import Mesh


class Peers:
    """A table of sessions that nobody hosts."""

    def __init__(self, count: int) -> None:
        self.table = {NodeId(f"n{number}"): _peer(NodeId(f"n{number}")) for number in range(count)}
        self.wanted: set[NodeId] = set()
        self.exchanged: list[NodeId] = []
        self._change = anyio.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self.table.values()))

    @property
    def ids(self) -> set[NodeId]:
        return set(self.table)

    @property
    def are_busy(self) -> bool:
        return any(peer.is_busy for peer in self)

    async def changed(self) -> None:
        await self._change.wait()

    def end(self, node: NodeId, reason: str) -> None:
        self.table.pop(node).connection.reason = reason
        self._change.set()
        self._change = anyio.Event()

    def exchange(self, node: NodeId) -> None:
        self.exchanged.append(node)
        self.end(node, "makes room for another neighbour")


class _Session:
    def __init__(self, node: NodeId) -> None:
        self.id, self.name, self.dialled, self.reason = node, node, True, ""


def _peer(node: NodeId) -> Any:
    host = f"10.0.0.{node[1:]}"
    return SimpleNamespace(connection=_Session(node), host=host, listens=(host, 7411), is_busy=False)


def mesh_of(peers: Peers, others: int) -> tuple[Mesh, Roster]:
    roster = Roster(NodeId("own"), random.Random(1))
    for number in range(others):
        roster.heard(Sighting(NodeId(f"n{number}"), f"10.0.0.{number}", 7411, "mdns"), 0.0)
    gate = SimpleNamespace(own_id=NodeId("own"))
    return Mesh(roster, peers, gate, time.monotonic, (), random.Random(2)), roster  # type: ignore[arg-type]


async def _until(peers: Peers, count: int) -> None:
    with anyio.fail_after(10):
        while len(peers.exchanged) < count:
            await peers.changed()


def test_a_full_idle_node_exchanges_a_neighbour_for_one_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "REWIRE_S", 0.01)

    async def main() -> None:
        peers = Peers(NEIGHBOURS)
        mesh, _ = mesh_of(peers, others=NEIGHBOURS + 10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mesh._rewire)
            await _until(peers, 1)
            tasks.cancel_scope.cancel()
        assert len(peers.exchanged) == 1  # there is room now, so nobody else has to go

    anyio.run(main)


def test_nobody_is_exchanged_while_something_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "REWIRE_S", 0.0)

    async def main() -> None:
        peers = Peers(NEIGHBOURS)
        next(iter(peers)).is_busy = True
        mesh, _ = mesh_of(peers, others=NEIGHBOURS + 10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mesh._rewire)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert peers.exchanged == []
            next(iter(peers)).is_busy = False
            await _until(peers, 1)
            tasks.cancel_scope.cancel()

    anyio.run(main)


def test_who_ended_a_session_to_make_room_is_left_alone_for_a_while() -> None:
    async def main() -> None:
        peers = Peers(2)
        mesh, roster = mesh_of(peers, others=2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mesh._watch_peers)
            await anyio.wait_all_tasks_blocked()
            peers.end(NodeId("n0"), "peer ended it: makes room for another neighbour [busy]")
            await anyio.wait_all_tasks_blocked()
            peers.end(NodeId("n1"), "connection lost")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert roster.waiting(time.monotonic(), frozenset()) == ["10.0.0.1"]
        assert len(roster.waiting(time.monotonic() + REST_S + 1, frozenset())) == 2

    anyio.run(main)
