"""Looking for holders ends: at the limit, or once somebody is known and nothing new comes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from dfedge.core.image.name import Ref
from dfedge.core.seams import ImageId, NodeId
from dfedge.jobs.locate import locate
from dfedge.transfer.gossip import Answers, Holding

HOUR = 3600.0
HOLDING = Holding(NodeId("a"), "gw-01", ImageId(bytes(32)), 5, 5)


class Gossip:
    """Neighbours that give these answers, each a little later than the one before."""

    def __init__(self, *answers: Holding) -> None:
        self._given = answers
        self.answers = Answers()

    @contextmanager
    def asking(self, ref: Ref) -> Iterator[Answers]:
        yield self.answers

    async def answer(self) -> None:
        for holding in self._given:
            await anyio.wait_all_tasks_blocked()
            self.answers.add(holding)


def found(gossip: Gossip, within: float, *, known: bool) -> list[Holding]:
    told: list[Holding] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gossip.answer)
            with anyio.fail_after(30):
                told.extend(await locate(Ref("a"), within, gossip, time.monotonic, known=known))  # type: ignore[arg-type]

    anyio.run(main)
    return told


def test_where_a_holder_is_known_the_answers_are_not_waited_for_without_end() -> None:
    assert found(Gossip(), HOUR, known=True) == []


def test_all_that_is_answered_is_told_and_then_it_ends() -> None:
    other = Holding(NodeId("b"), "gw-02", ImageId(bytes(32)), 5, 3)
    assert found(Gossip(HOLDING, other, HOLDING), HOUR, known=False) == [HOLDING, other]


def test_where_nobody_answers_it_ends_at_the_limit() -> None:
    assert found(Gossip(), 0.05, known=False) == []
