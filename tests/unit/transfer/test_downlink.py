"""Asking within an allowance: small blocks, turns, no more out than may come soon, and nobody is forgotten."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import anyio
import pytest

from dfedge.core.seams import NodeId
from dfedge.core.wire.frame import Kind
from dfedge.transfer.ask import SMALL_BLOCK, Asker
from dfedge.transfer.downlink import Downlink

from .fakes import Allowance, Bulk
from .test_ask import Taker

pytestmark = pytest.mark.anyio


@pytest.fixture
def allowance() -> Allowance:
    return Allowance()


@pytest.fixture
def askers(allowance: Allowance) -> Iterator[list[tuple[Asker, Bulk]]]:
    downlink = Downlink(allowance)
    with ExitStack() as stack:
        found = []
        for name in ("one", "two"):
            bulk = Bulk()
            asker = Asker(NodeId(name), bulk)
            stack.enter_context(downlink.asking(asker, f"{name}:1"))
            found.append((asker, bulk))
        yield found


def _answer(asker: Asker, bulk: Bulk, at: int) -> None:
    frame = replace(bulk.sent[at][0], kind=Kind.BLOCK)
    asker.expect(frame)
    asker.take(frame, bytes(frame.length))


async def test_without_a_limit_a_piece_is_asked_for_at_once(askers: list[tuple[Asker, Bulk]]) -> None:
    asker, bulk = askers[0]
    asker.ask(Taker(), 1, 0, 3 * SMALL_BLOCK)
    assert len(bulk.sent) == 3


async def test_within_a_limit_blocks_are_small_and_peers_take_turns(
    askers: list[tuple[Asker, Bulk]], allowance: Allowance
) -> None:
    allowance.one.grain, allowance.one.ahead = 2000, 8000
    taker = Taker()
    for asker, _ in askers:
        asker.ask(taker, 1, 0, 20_000)
    for asker, bulk in askers:
        assert all(frame.length == 2000 for frame, _ in bulk.sent)
        assert asker.outstanding <= 8000 + 2000
    asker, bulk = askers[0]
    at = 0
    while at < 10:
        _answer(asker, bulk, at)
        at += 1
    (whole,) = taker.whole
    assert sum(len(block) for block in whole.blocks) == 20_000
    assert allowance.one.spent >= 20_000


async def test_who_must_wait_is_asked_when_the_wait_is_over(
    askers: list[tuple[Asker, Bulk]], allowance: Allowance
) -> None:
    allowance.one.waits = [0.01, 0.01, 0.01]
    asker, bulk = askers[0]
    asker.ask(Taker(), 1, 0, 1000)
    assert bulk.sent == []
    with anyio.fail_after(5):
        while not bulk.sent:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_a_silent_peer_keeps_no_other_from_being_asked(
    askers: list[tuple[Asker, Bulk]], allowance: Allowance
) -> None:
    allowance.one.grain, allowance.one.ahead = 2000, 4000
    silent, other = askers[0][0], askers[1]
    silent.ask(Taker(), 1, 0, 100_000)
    taker = Taker()
    other[0].ask(taker, 1, 0, 20_000)
    at = 0
    while not taker.whole:
        _answer(*other, at)
        at += 1
    assert at == 10


async def test_what_is_given_up_before_it_was_asked_for_is_never_asked_for(
    askers: list[tuple[Asker, Bulk]], allowance: Allowance
) -> None:
    allowance.one.grain, allowance.one.ahead = 2000, 2000
    asker, bulk = askers[0]
    first = asker.ask(Taker(), 1, 0, 2000)
    asker.ask(Taker(), 1, 1, 2000)
    second = asker.ask(Taker(), 1, 2, 2000)
    asker.drop(second)
    assert not first.dropped
    for at in range(2):
        _answer(asker, bulk, at)
    assert [frame.piece for frame, _ in bulk.sent] == [0, 1]
    assert not asker.waiting


async def test_an_urgent_image_goes_before_one_that_waits_and_the_rest_follows(
    askers: list[tuple[Asker, Bulk]], allowance: Allowance
) -> None:
    allowance.one.grain, allowance.one.ahead = 2000, 2000
    (asker, bulk), (other, other_bulk) = askers
    asker.ask(Taker(), 1, 0, 2000)
    asker.ask(Taker(), 1, 1, 2000)
    asker.ask(Taker(), 1, 2, 2000)
    asker.ask(Taker(priority=1), 1, 9, 2000)
    for at in range(3):
        _answer(asker, bulk, at)
    assert [frame.piece for frame, _ in bulk.sent] == [0, 1, 9]
    assert other.gives_way(0) and not other.gives_way(1)
    other.ask(Taker(), 1, 5, 2000)
    assert other_bulk.sent == []
    with anyio.fail_after(10):
        while len(bulk.sent) < 4 or not other_bulk.sent:  # noqa: ASYNC110
            await anyio.sleep(0.01)
