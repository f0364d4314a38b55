"""Serving: in turn, as the links take it, and nothing that is not proven."""

from collections.abc import AsyncIterator, Sequence

import anyio
import pytest

from dfedge.core.errors import ProtocolError
from dfedge.core.seams import ImageId
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.serve import LAG, MAX_QUEUE, Line, Uplink

from .fakes import PIECE, Allowance, Bulk, Image

pytestmark = pytest.mark.anyio


class Served:
    image = ImageId(bytes(32))

    def __init__(self, pieces: int = 4) -> None:
        self.store = Image(pieces)
        self.open = True
        self.rot: list[int] = []

    def may_ask(self, line: Line, piece: int) -> bool:
        return self.open

    def on_rotten(self, piece: int) -> None:
        self.rot.append(piece)


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
    with uplink.line(bulk, "192.0.2.7:1") as line:
        for request in range(3):
            uplink.request(line, served, _ask(2, request))
        await _sent(bulk, 3)
    assert [frame.kind for frame, _ in bulk.sent] == [Kind.BLOCK] * 3
    assert bulk.sent[0][1] == b"\x02" * 1000
    assert served.store.proofs == 1


async def test_after_a_doubt_a_piece_is_proven_again_before_it_goes_out(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk, "192.0.2.7:1") as line:
        uplink.request(line, served, _ask(2, 1))
        await _sent(bulk, 1)
        uplink.doubt()
        served.store.rotten = {2}
        uplink.request(line, served, _ask(2, 2))
        await _sent(bulk, 2)
    assert [frame.kind for frame, _ in bulk.sent] == [Kind.BLOCK, Kind.REJECT]


async def test_a_rotten_piece_is_never_sent_and_is_told(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    served.store.rotten = {1}
    with uplink.line(bulk, "192.0.2.7:1") as line:
        uplink.request(line, served, _ask(1))
        await _sent(bulk, 1)
    assert bulk.sent[0][0].kind is Kind.REJECT
    assert served.rot == [1]


def _log_order(order: list[str], name: str, bulk: Bulk) -> None:
    original = bulk.write

    def write(parts: Sequence[bytes]) -> None:
        order.append(name)
        original(parts)

    bulk.write = write  # type: ignore[method-assign]


async def test_peers_take_turns(uplink: Uplink) -> None:
    served, one, two = Served(), Bulk(), Bulk()
    order: list[str] = []
    _log_order(order, "one", one)
    _log_order(order, "two", two)
    with uplink.line(one, "192.0.2.7:1") as first, uplink.line(two, "192.0.2.7:1") as second:
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
    with uplink.line(slow, "192.0.2.7:1") as stuck, uplink.line(fast, "192.0.2.7:1") as good:
        stuck.blocked = True
        uplink.request(stuck, served, _ask(0))
        uplink.request(good, served, _ask(0))
        await _sent(fast, 1)
        assert slow.sent == []


async def test_a_choked_peer_is_told_no(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    served.open = False
    with uplink.line(bulk, "192.0.2.7:1") as line:
        uplink.request(line, served, _ask(0))
    assert [frame.kind for frame, _ in bulk.sent] == [Kind.REJECT]


async def test_bytes_beyond_a_piece_and_floods_are_mistakes(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk, "192.0.2.7:1") as line:
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
    allowance.one.waits = [0.02, 0.02, 0.02]
    with uplink.line(bulk, "192.0.2.7:1") as line:
        for request in range(4):
            uplink.request(line, served, _ask(0, request))
        await _sent(bulk, 4)
    assert sorted(frame.request for frame, _ in bulk.sent) == [0, 1, 2, 3]


async def test_an_image_no_longer_served_leaves_no_request_unanswered(uplink: Uplink) -> None:
    served, bulk = Served(), Bulk()
    with uplink.line(bulk, "192.0.2.7:1") as line:
        line.blocked = True
        uplink.request(line, served, _ask(0))
        uplink.forget(served)
        assert [frame.kind for frame, _ in bulk.sent] == [Kind.REJECT]


async def test_bytes_are_shared_and_not_turns(uplink: Uplink) -> None:
    served, small, large = Served(), Bulk(), Bulk()
    with uplink.line(small, "192.0.2.7:1") as one, uplink.line(large, "192.0.2.8:1") as other:
        one.blocked = other.blocked = True
        for request in range(100):
            uplink.request(one, served, _ask(0, request, length=1000))
        for request in range(10):
            uplink.request(other, served, _ask(0, request, length=10_000))
        order: list[str] = []
        _log_order(order, "small", small)
        _log_order(order, "large", large)
        one.blocked = other.blocked = False
        uplink.pump()
        await _sent(small, 100)
        await _sent(large, 10)
    assert 4 <= order[:55].count("large") <= 6


async def test_who_rests_cannot_claim_all_that_it_missed(uplink: Uplink) -> None:
    served, busy, rested = Served(), Bulk(), Bulk()
    with uplink.line(busy, "192.0.2.7:1") as one, uplink.line(rested, "192.0.2.8:1") as other:
        one.sent, uplink._level = 10 * LAG, 10 * LAG
        uplink.request(other, served, _ask(0))
        assert other.sent == 9 * LAG
        await _sent(rested, 1)
