"""Another flow's queue in a peer's link: our other way goes on past it, nobody can talk us into more than the bound."""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from dfedge.throttle.controller import Direction, Share
from dfedge.throttle.load import Traffic
from dfedge.throttle.policy import Policy
from dfedge.throttle.strain import Strain, Told

from .link import BASE_S, MBIT

FULL = 100 * MBIT
TICK_S = 0.1


def saw(low_ms: float, high_ms: float, period_s: float) -> Callable[[float], float]:
    """The queue of a TCP flow: it grows until a packet is lost."""
    return lambda now: (low_ms + (high_ms - low_ms) * (now % period_s) / period_s) / 1000


@dataclass
class Upload:
    """We serve one peer over our uplink, each end with its window, beside a download of somebody else.

    `tells` says whether the peer hears of that download, `late_s` how late.
    """

    foreign: Callable[[float], float]  # the queue in our downlink, in seconds, from the 5th second on
    until_s: float = math.inf
    tells: bool = True
    late_s: float = 0.3
    peers_link: float = math.inf  # bytes/s
    lie_s: float | None = None  # what we say all the time, while we hold nothing back
    rests_s: float = 0.0  # of each 6 s, in which there is little to send
    rates: list[float] = field(default_factory=list)  # a tick
    queues: list[float] = field(default_factory=list)  # ours, in seconds

    def run(self, seconds: float) -> None:
        ours, peers = Direction("eth0"), Direction("eth0")
        policy, down = Policy(), Traffic(own=0.04 * FULL, total=FULL)
        windows = [128 * 1024.0, 128 * 1024.0]
        said: deque[float] = deque([0.0] * max(1, round(self.late_s / TICK_S)))
        recent: deque[float] = deque(maxlen=5)
        slowest = min(FULL, self.peers_link)
        for tick in range(round(seconds / TICK_S)):
            now = tick * TICK_S
            strained = 5 <= now < self.until_s
            foreign = self.foreign(now) if strained else 0.0
            rests = now % 6 >= 6 - self.rests_s
            under_way = min(*windows, (0.3 * slowest * BASE_S) if rests else math.inf)
            rate = min(slowest, under_way / (BASE_S + foreign))
            queue = max(0.0, under_way / slowest - BASE_S - foreign)
            recent.append(rate)
            own, delay = sum(recent) / len(recent), foreign + queue
            seen = Traffic(own, own, delay, BASE_S + delay, 1, "kiosk-07", own)
            heard = self.lie_s if self.lie_s is not None else said[0] if self.tells else 0.0
            told = Traffic(own, own, delay, BASE_S + delay, 1, "node-0", own, heard)
            share = ours.step(seen, down, policy, TICK_S, strained=strained)
            said.append(share.strain_s)
            said.popleft()
            held = _window(share) if self.lie_s is None else math.inf
            windows = [held, _window(peers.step(told, Traffic(), policy, TICK_S))]
            self.rates.append(rate)
            self.queues.append(queue)

    def mean(self, since: float, until: float) -> float:
        part = self.rates[round(since / TICK_S) : round(until / TICK_S)]
        return sum(part) / len(part)


def _window(share: Share) -> float:
    assert share.window is not None
    return float(share.window)


QUEUES = {
    "15 ms": saw(15, 15, 1),
    "up to 15 ms": saw(5, 15, 1.5),
    "50 ms": saw(50, 50, 1),
    "up to 50 ms": saw(30, 50, 2),
}


@pytest.mark.parametrize("queue", QUEUES)
def test_a_download_of_somebody_else_leaves_our_upload_seven_tenths(queue: str) -> None:
    upload = Upload(QUEUES[queue])
    upload.run(20)
    alone = upload.mean(2, 5)
    assert alone >= 0.95 * FULL
    assert upload.mean(7, 20) >= 0.8 * alone
    assert max(upload.queues[60:]) <= 0.03


@pytest.mark.parametrize("queue", QUEUES)
def test_when_the_download_ends_nobody_waits_behind_what_was_granted_for_it(queue: str) -> None:
    upload = Upload(QUEUES[queue], until_s=15)
    upload.run(20)
    assert max(upload.queues[153:]) <= 0.01  # the news takes 0.3 s
    assert upload.mean(15.5, 16.5) >= 0.8 * FULL
    assert upload.mean(16.5, 20) >= 0.95 * FULL


def test_a_peer_that_is_not_told_holds_it_short() -> None:
    upload = Upload(QUEUES["50 ms"], tells=False)
    upload.run(20)
    assert upload.mean(7, 20) < 0.4 * FULL


@pytest.mark.parametrize("late_s", [0.1, 1.0, 2.0])
def test_news_that_comes_late_does_not_swing_it(late_s: float) -> None:
    upload = Upload(QUEUES["15 ms"], late_s=late_s)
    upload.run(25)
    assert upload.mean(10, 25) >= 0.8 * FULL


@pytest.mark.parametrize("mbit", [10, 50])
def test_a_peer_behind_a_thin_link_of_its_own_keeps_that_free_all_the_same(mbit: int) -> None:
    upload = Upload(QUEUES["15 ms"], peers_link=mbit * MBIT)
    upload.run(25)
    queues = upload.queues[100:]
    assert sum(queues) / len(queues) <= 0.01
    assert max(queues) <= 0.02
    assert upload.mean(10, 25) >= 0.7 * mbit * MBIT


@pytest.mark.parametrize("lie_s", [0.05, 3600.0])
@pytest.mark.parametrize("rests_s", [0.0, 1.0])
def test_a_peer_that_lies_makes_us_queue_no_more_than_the_bound_and_seldom_that(lie_s: float, rests_s: float) -> None:
    upload = Upload(saw(0, 0, 1), lie_s=lie_s, rests_s=rests_s)
    upload.run(60)
    queues = sorted(upload.queues[50:])
    assert queues[-1] <= 0.065
    assert queues[len(queues) // 2] <= 0.025


def test_what_was_granted_fades_without_room_and_ends_with_the_other_flow() -> None:
    strain = Strain()
    assert strain.step(0.04, has_room=False) == 0.0
    assert strain.step(0.04, has_room=True) == 0.04
    assert 0.03 < strain.step(0.05, has_room=False) < 0.04
    assert strain.step(0.01, has_room=False) == 0.01
    assert strain.step(0.0, has_room=True) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_a_peer_hears_of_it_often_enough_and_not_more_than_that(seed: int) -> None:
    rng, told, said = random.Random(seed), Told(), list[float]()
    for tick in range(600):
        if told.is_due((0, rng.choice([0, 10, 11, 40])), tick * TICK_S):
            said.append(tick * TICK_S)
    gaps = [after - before for before, after in pairwise(said)]
    assert min(gaps) >= 0.29 and max(gaps) <= 1.11


def test_the_end_of_it_is_said_once() -> None:
    told = Told()
    assert told.is_due((0, 12), 1.0)
    assert not told.is_due((0, 0), 1.1)
    assert told.is_due((0, 0), 1.3) and told.is_over
    assert not any(told.is_due((0, 0), now) for now in (1.4, 5.0, 60.0))
