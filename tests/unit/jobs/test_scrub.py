"""When the scrub reads, on a clock that the test turns: a slice a day, whatever the calendar does."""

from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from dfedge.jobs.scrub import Scrub
from dfedge.store.scrub import DAY, ScrubState, Slice
from dfedge.store.store import Store

pytestmark = pytest.mark.anyio


class _Store:
    """Stands for a store of three pieces a slice; `shares` are the slices that were read."""

    def __init__(self, at: float) -> None:
        self.state = ScrubState(at=at)
        self.shares: list[float] = []

    @property
    def scrubber(self) -> "_Store":
        return self

    async def slice(self, share: float, before: Any) -> Slice:
        for _ in range(3):
            await before()
        self.shares.append(share)
        return Slice(3, 3, 0, round_done=False)


class _Time:
    def __init__(self) -> None:
        self.steady = 0.0
        self.calendar = 1_800_000_000.0
        self.busy_until = 0.0

    async def sleep(self, seconds: float) -> None:
        self.steady += seconds
        self.calendar += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> _Time:
    turned = _Time()
    monkeypatch.setattr("dfedge.jobs.scrub.anyio.sleep", turned.sleep)
    return turned


async def _run(store: _Store, time: _Time, until: float) -> None:
    def busy() -> bool:
        return time.steady < time.busy_until

    scrub = Scrub(cast("Store", store), 30 * DAY, busy, lambda: time.calendar, lambda: time.steady)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scrub.run)
        while time.steady < until:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("jump", [0.0, 400 * DAY, -400 * DAY])
async def test_a_jump_of_the_calendar_brings_no_slice_and_loses_none(time: _Time, jump: float) -> None:
    store = _Store(at=time.calendar - DAY / 2)
    await _run(store, time, DAY)
    assert store.shares == [1 / 30]
    time.calendar += jump
    store.shares.clear()
    await _run(store, time, time.steady + 3.9 * DAY)
    assert 3 <= len(store.shares) <= 4


async def test_a_slice_stands_back_for_transfers_but_not_for_ever(time: _Time) -> None:
    store = _Store(at=time.calendar - 2 * DAY)
    time.busy_until = 1800.0
    await _run(store, time, 1700.0)
    assert not store.shares
    await _run(store, time, 4000.0)
    assert store.shares
    time.busy_until = float("inf")
    store.shares.clear()
    await _run(store, time, time.steady + 6000.0)
    assert store.shares
