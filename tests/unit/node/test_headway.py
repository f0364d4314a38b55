"""How far an image is, as it is told."""

from typing import Any, cast

import pytest

from dfedge.node.control import Call
from dfedge.node.headway import Headway

pytestmark = pytest.mark.anyio


class Waiting:
    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    async def emit(self, event: dict[str, Any]) -> None:
        self.heard.append(event)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_slow_reader_is_told_four_times_a_second_and_once_all_is_there() -> None:
    waiting = Waiting()
    clock = Time()
    told = Headway(cast("Call", waiting), clock)
    for step in range(1, 101):
        clock.now += 0.01
        await told.tell("gateway", "1", total=100, done=step)
    assert [event["bytes_done"] for event in waiting.heard] == [1, 26, 51, 76, 100]


async def test_the_rate_is_of_what_came_since_the_image_began() -> None:
    waiting = Waiting()
    clock = Time()
    told = Headway(cast("Call", waiting), clock)
    clock.now += 2.0
    await told.tell("gateway", "1", total=1000, done=1000)
    clock.now += 4.0
    await told.tell("tools", "7", total=1000, done=600, reused=200, more={"image": "sha256:00"})
    first, second = waiting.heard
    assert (first["rate"], first["eta"]) == (500, 0.0)
    assert (second["rate"], second["eta"], second["image"]) == (100, 4.0, "sha256:00")


async def test_nothing_that_came_yet_has_no_end_in_sight() -> None:
    waiting = Waiting()
    await Headway(cast("Call", waiting)).tell("gateway", "1", total=10, done=2, reused=2)
    assert (waiting.heard[0]["rate"], waiting.heard[0]["eta"]) == (0, None)
