"""Serving: in turn, as the links take it, and nothing that is not proven."""

from collections.abc import AsyncIterator

import anyio
import pytest

from dfedge.core.errors import ProtocolError
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.serve import MAX_QUEUE, Line, Uplink

from .fakes import PIECE, Bulk, Image

pytestmark = pytest.mark.anyio


class Served:
    def __init__(self, pieces: int = 4) -> None:
        self.store = Image(pieces)
        self.open = True
        self.rot: list[int] = []

    def may_ask(self, line: Line, piece: int) -> bool:
        return self.open

    def on_rotten(self, piece: int) -> None:
        self.rot.append(piece)


class Allowance:
    def __init__(self) -> None:
        self.waits: list[float] = []

    def take(self, nbytes: int) -> float:
        return self.waits.pop(0) if self.waits else 0.0


@pytest.fixture
def allowance() -> Allowance:
    return Allowance()


@pytest.fixture
async def uplink(allowance: Allowance) -> AsyncIterator[Uplink]:
    uplink = Uplink(allowance)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uplink.run)
        await anyio.wait_all_tasks_blocked()
        yield uplink
        tasks.cancel_scope.cancel()


def _ask(piece: int, request: int = 1, offset: int = 0, length: int = 1000) -> Frame:
    return Frame(Kind.REQUEST, 1, request, piece, offset, length)


async def _sent(bulk: Bulk, count: int) -> None:
    with anyio.fail_after(5):
        while len(bulk.sent) < count:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_a_piece_is_proven_once_before_its_first_upload(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk) as line:
        for request in range(3):
            uplink.request(line, served, _ask(2, request))
        await _sent(bulk, 3)
    assert [frame.kind for frame, _ in bulk.sent] == [Kind.BLOCK] * 3
    assert bulk.sent[0][1] == b"\x02" * 1000
    assert served.store.proofs == 1


async def test_a_rotten_piece_is_never_sent_and_is_told(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    served.store.rotten = {1}
    with uplink.line(bulk) as line:
        uplink.request(line, served, _ask(1))
        await _sent(bulk, 1)
    assert bulk.sent[0][0].kind is Kind.REJECT
    assert served.rot == [1]


async def test_peers_take_turns(uplink: Uplink) -> None:
    served, one, two = Served(), Bulk(), Bulk()
    order: list[str] = []
    for name, bulk in (("one", one), ("two", two)):
        original = bulk.write
        bulk.write = lambda parts, name=name, original=original: (order.append(name), original(parts))[1]  # type: ignore[method-assign, misc, func-returns-value]
    with uplink.line(one) as first, uplink.line(two) as second:
        first.blocked = second.blocked = True
        for request in range(3):
            uplink.request(first, served, _ask(0, request))
            uplink.request(second, served, _ask(0, request))
        first.blocked = second.blocked = False
        uplink.pump()
        await _sent(two, 3)
    assert order in (["one", "two"] * 3, ["two", "one"] * 3)


async def test_who_does_not_read_holds_up_nobody_else(uplink: Uplink) -> None:
    served, slow, fast = Served(), Bulk(), Bulk()
    with uplink.line(slow) as stuck, uplink.line(fast) as good:
        stuck.blocked = True
        uplink.request(stuck, served, _ask(0))
        uplink.request(good, served, _ask(0))
        await _sent(fast, 1)
        assert slow.sent == []


async def test_a_choked_peer_is_told_no(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    served.open = False
    with uplink.line(bulk) as line:
        uplink.request(line, served, _ask(0))
    assert [frame.kind for frame, _ in bulk.sent] == [Kind.REJECT]


async def test_bytes_beyond_a_piece_and_floods_are_mistakes(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk) as line:
        line.blocked = True
        with pytest.raises(ProtocolError, match="beyond"):
            uplink.request(line, served, _ask(4))
        with pytest.raises(ProtocolError, match="beyond"):
            uplink.request(line, served, _ask(0, offset=PIECE - 10, length=11))
        for request in range(MAX_QUEUE):
            uplink.request(line, served, _ask(0, request))
        with pytest.raises(ProtocolError, match="at once"):
            uplink.request(line, served, _ask(0, MAX_QUEUE))


async def test_a_cap_makes_blocks_wait_and_loses_none(uplink: Uplink, allowance: Allowance) -> None:
    served, bulk = Served(), Bulk()
    allowance.waits = [0.02, 0.02, 0.02]
    with uplink.line(bulk) as line:
        for request in range(4):
            uplink.request(line, served, _ask(0, request))
        await _sent(bulk, 4)
    assert sorted(frame.request for frame, _ in bulk.sent) == [0, 1, 2, 3]


async def test_an_image_no_longer_served_leaves_no_request_unanswered(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk) as line:
        line.blocked = True
        uplink.request(line, served, _ask(0))
        uplink.forget(served)
        assert [frame.kind for frame, _ in bulk.sent] == [Kind.REJECT]
