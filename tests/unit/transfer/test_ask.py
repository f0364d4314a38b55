"""Asking: every request is answered once, and what was not asked for is a peer's mistake."""

from dataclasses import replace

import pytest

from dfedge.core.errors import ProtocolError
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.ask import SMALL_BLOCK, Asker, Attempt

from .fakes import Bulk


class Taker:
    image = ImageId(bytes(32))

    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.parts: list[int] = []
        self.whole: list[Attempt] = []
        self.rejected: list[Attempt] = []

    def on_part(self, attempt: Attempt, nbytes: int) -> None:
        self.parts.append(nbytes)

    def on_whole(self, attempt: Attempt) -> None:
        self.whole.append(attempt)

    def on_reject(self, attempt: Attempt) -> None:
        self.rejected.append(attempt)


@pytest.fixture
def bulk() -> Bulk:
    return Bulk()


@pytest.fixture
def asker(bulk: Bulk) -> Asker:
    return Asker(NodeId("peer"), bulk)


def _answer(frame: Frame, kind: Kind = Kind.BLOCK) -> Frame:
    return replace(frame, kind=kind)


def test_a_piece_is_asked_for_in_blocks_and_put_together_in_order(asker: Asker, bulk: Bulk) -> None:
    taker = Taker()
    asker.ask(taker, 3, 7, 2 * SMALL_BLOCK + 10)
    asked = [frame for frame, _ in bulk.sent]
    assert [(frame.offset, frame.length) for frame in asked] == [
        (0, SMALL_BLOCK), (SMALL_BLOCK, SMALL_BLOCK), (2 * SMALL_BLOCK, 10),
    ]  # fmt: skip
    for frame in reversed(asked):
        asker.expect(_answer(frame))
        asker.take(_answer(frame), bytes([frame.offset // SMALL_BLOCK]) * frame.length)
    (whole,) = taker.whole
    assert [block[0] for block in whole.blocks] == [0, 1, 2]
    assert asker.outstanding == 0


@pytest.mark.parametrize("change", ["handle", "piece", "offset", "length", "request"])
def test_a_block_that_was_not_asked_for_is_refused_before_its_body(change: str, asker: Asker, bulk: Bulk) -> None:
    asker.ask(Taker(), 3, 7, 1000)
    frame = bulk.sent[0][0]
    with pytest.raises(ProtocolError, match="answers request"):
        asker.expect(_answer(replace(frame, **{change: getattr(frame, change) + 1})))


def test_an_answer_counts_once(asker: Asker, bulk: Bulk) -> None:
    asker.ask(Taker(), 3, 7, 1000)
    frame = _answer(bulk.sent[0][0])
    asker.expect(frame)
    asker.take(frame, bytes(1000))
    with pytest.raises(ProtocolError, match="did not make"):
        asker.expect(frame)


def test_blocks_of_a_piece_we_gave_up_on_are_waste_and_no_mistake(asker: Asker, bulk: Bulk) -> None:
    taker = Taker()
    attempt = asker.ask(taker, 3, 7, 2 * SMALL_BLOCK)
    first, second = (_answer(frame) for frame, _ in bulk.sent)
    asker.expect(first)
    asker.take(first, bytes(SMALL_BLOCK))
    asker.drop(attempt)
    asker.expect(second)
    asker.take(second, bytes(SMALL_BLOCK))
    assert taker.whole == []
    assert asker.wasted == 2 * SMALL_BLOCK
    assert asker.outstanding == 0


def test_a_rejected_piece_is_told_once(asker: Asker, bulk: Bulk) -> None:
    taker = Taker()
    asker.ask(taker, 3, 7, 2 * SMALL_BLOCK)
    for frame, _ in bulk.sent:
        asker.expect(_answer(frame, Kind.REJECT))
    assert len(taker.rejected) == 1
    assert asker.outstanding == 0
