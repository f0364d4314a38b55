"""Driving a swarm: what the store holds and what the swarm believes stay one."""

import random

import anyio
import pytest

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.swarm.event import Ask
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm
from dfedge.transfer.drive import Drive
from dfedge.transfer.member import Member
from dfedge.transfer.serve import Uplink

from .fakes import Allowance, Image

pytestmark = pytest.mark.anyio


class Court:
    def spoiled(self, image: ImageId, piece: int, member: Member) -> None: ...


async def test_a_piece_that_an_ended_fetch_was_still_writing_does_not_stall_the_next() -> None:
    store = Image(2)
    store.holds = PieceMap(2)
    swarm = Swarm(2, store.manifest.lengths.__getitem__, store.holds, random.Random(1), Policy())
    drive = Drive(ImageId(bytes(32)), store, swarm, Uplink(Allowance()), Court(), anyio.current_time)
    drive.take(store)
    store.holds = PieceMap.full(2)  # written meanwhile
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive.run, 1.0)
        for piece in range(2):
            drive._carry_out(Ask(NodeId("peer"), piece, "it is missing"))
        with anyio.fail_after(5):
            await drive.finished.wait()
        tasks.cancel_scope.cancel()
    assert drive.failure is None and swarm.complete
