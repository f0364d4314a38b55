"""Driving a swarm: what the store holds and what the swarm believes stay one."""

import random

import anyio
import pytest

from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.swarm.event import Ask
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm
from dfedge.core.wire import message as m
from dfedge.transfer.drive import Drive
from dfedge.transfer.member import Member
from dfedge.transfer.serve import Uplink

from .fakes import Allowance, Image

pytestmark = pytest.mark.anyio


PEER = NodeId("ab" * 32)


class Court:
    def spoiled(self, image: ImageId, piece: int, member: Member) -> None: ...

    def proven(self, peer: NodeId) -> None: ...


class Connection:
    """Keeps what it is told."""

    id, name, line, is_closed = PEER, "peer", None, False

    def __init__(self) -> None:
        self.said: list[m.Message] = []

    def send(self, message: m.Message) -> None:
        self.said.append(message)


def _drive(store: Image, holds: PieceMap) -> Drive:
    store.holds = holds
    swarm = Swarm(2, store.manifest.lengths.__getitem__, holds, random.Random(1), Policy())
    return Drive(ImageId(bytes(32)), store, swarm, Uplink(Allowance()), Court(), anyio.current_time)


async def _end(drive: Drive) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await drive.run(1.0)


def _meet(drive: Drive) -> Connection:
    connection = Connection()
    member = Member(connection, drive.image, ours=1)  # type: ignore[arg-type]
    drive.add(member, PieceMap.full(2), True, None)
    return connection


async def test_a_neighbour_that_left_before_it_heard_of_its_bad_piece_is_told_when_it_returns() -> None:
    """Else it goes on serving what has rotted, and is banned for it."""
    drive = _drive(Image(2), PieceMap(2))
    first = _meet(drive)
    drive._judge(Outcome.MISMATCH, PEER, 1, 1000)
    assert m.Bad(1, 1) in first.said
    drive.remove(drive.members[0])
    assert m.Bad(1, 1) in _meet(drive).said
    drive.withdrawn(PEER, (1,))
    drive.remove(drive.members[0])
    assert m.Bad(1, 1) not in _meet(drive).said
    await _end(drive)


async def test_a_complaint_has_every_piece_proven_again_before_it_goes_out() -> None:
    """Rot seldom comes alone, and neighbours go on asking while the one piece is looked into."""
    store = Image(2)
    drive = _drive(store, PieceMap.full(2))
    drive.complain(1)
    assert store.doubts == 1
    await _end(drive)


async def test_a_piece_that_an_ended_fetch_was_still_writing_does_not_stall_the_next() -> None:
    store = Image(2)
    drive = _drive(store, PieceMap(2))
    drive.take(store)
    store.holds = PieceMap.full(2)  # written meanwhile
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive.run, 1.0)
        for piece in range(2):
            drive._carry_out(Ask(NodeId("peer"), piece, "it is missing"))
        with anyio.fail_after(5):
            await drive.finished.wait()
        tasks.cancel_scope.cancel()
    assert drive.failure is None and drive.swarm.complete
