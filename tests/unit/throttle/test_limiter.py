"""The limiter: every byte passes it, caps hold together, and its sums are the wire's."""

import math
from pathlib import Path

import pytest

from dfedge.core.seams import ImageId
from dfedge.throttle.limiter import Lane, Limiter
from dfedge.throttle.policy import Caps, Policy
from dfedge.throttle.route import Route, Routes

IMAGE, OTHER = ImageId(bytes(32)), ImageId(bytes(31) + b"1")
NEIGHBOUR, FAR = "192.0.2.7:7411", "198.51.100.9:7411"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    return Routes(proc=tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(routes: Routes, clock: Clock) -> Limiter:
    return Limiter(routes, lambda: None, clock)


def _apply(limiter: Limiter, policy: Policy, **links: float) -> None:
    limiter.up.apply(policy, "up", policy.host.of("up"), links, paused=bool(policy.paused))


def _drain(lane: Lane, clock: Clock, seconds: float, block: int, overhead: float = 1.0) -> float:
    """Send as fast as it may; returns payload bytes/s. `overhead`: what the wire carries for a byte."""
    start, sent, settled = clock.now, 0, 0.0
    tick = start + 0.1
    while clock.now < start + seconds:
        wait = lane.wait(IMAGE)
        if wait:
            clock.now += min(wait, max(0.0001, tick - clock.now))
        else:
            lane.spend(block, IMAGE)
            sent += block
        if clock.now >= tick:
            lane.settle(sent * overhead - settled)
            settled, tick = sent * overhead, tick + 0.1
    return sent / seconds


def test_a_router_between_makes_it_the_uplink(routes: Routes) -> None:
    assert routes.of(NEIGHBOUR) == Route("eth0", on_link=True)
    assert routes.of(FAR) == Route("eth0", on_link=False)
    assert routes.of("127.0.0.1:7411") == Route("lo", on_link=True)
    assert routes.of("[fe80::7%wlan0]:7411") == Route("wlan0", on_link=True)
    assert routes.of("nonsense").interface == ""
    routes.count_as_lan(["198.51.100.0/24"])
    assert routes.of(FAR) == Route("eth0", on_link=True)


def test_lan_and_uplink_are_capped_apart(limiter: Limiter, clock: Clock) -> None:
    with limiter.up.lane(NEIGHBOUR) as near, limiter.up.lane(FAR) as far:
        _apply(limiter, Policy(lan=Caps(up=1_000_000), uplink=Caps(up=100_000)))
        far.spend(100_000, IMAGE)
        assert far.wait(IMAGE) > 0
        assert near.wait(IMAGE) == 0.0
        assert _drain(near, clock, 5, 2000) == pytest.approx(1_000_000, rel=0.02)


def test_the_host_cap_holds_for_both_together(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as near, limiter.up.lane(FAR) as far:
        _apply(limiter, Policy(host=Caps(up=1_000_000)))
        near.spend(200_000, IMAGE)
        assert far.wait(IMAGE) > 0


@pytest.mark.parametrize("mbit", [1, 10, 50])
def test_a_cap_counts_headers_and_lets_no_tenth_of_a_second_be_half_as_much_again(
    mbit: int, limiter: Limiter, clock: Clock
) -> None:
    cap = mbit * 125_000
    with limiter.up.lane(NEIGHBOUR) as lane:
        _apply(limiter, Policy(host=Caps(up=cap)))
        grain = lane.grain
        assert grain is not None
        assert grain == 2048 or grain <= 0.02 * cap
        _drain(lane, clock, 5, grain, 1.05)
        assert 1.05 * _drain(lane, clock, 10, grain, 1.05) == pytest.approx(cap, rel=0.02)
        before = lane.moved
        for _ in range(20):
            _drain(lane, clock, 0.1, grain, 1.05)
        assert lane.moved - before <= 2 * cap * 1.1


def test_what_the_kernel_counted_is_what_we_say_we_moved(limiter: Limiter, clock: Clock) -> None:
    with limiter.up.lane(NEIGHBOUR) as lane:
        _apply(limiter, Policy())
        lane.spend(1000, IMAGE)
        lane.settle(1066)
        assert limiter.up.moved == 1066


def test_an_image_with_a_rate_of_its_own_holds_up_no_other(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as lane:
        limiter.up.limit_image(IMAGE, 1000)
        lane.spend(5000, IMAGE)
        assert lane.wait(IMAGE) > 0
        assert lane.wait(OTHER) == 0.0
        limiter.up.limit_image(IMAGE, None)
        assert lane.wait(IMAGE) == 0.0


def test_paused_nothing_moves_and_resumed_it_does_at_once(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as lane:
        _apply(limiter, Policy(paused="by a command"))
        assert 0 < lane.wait(IMAGE) <= 1.0
        _apply(limiter, Policy())
        assert lane.wait(IMAGE) == 0.0


def test_an_interface_that_is_shared_is_yielded_on(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as lane:
        _apply(limiter, Policy(), eth0=500_000.0)
        assert (lane.grain, lane.ahead) == (10_000, 250_000)
        _apply(limiter, Policy(), eth0=math.inf)
        free = (lane.grain, lane.ahead)
    assert free == (None, None)


def test_bytes_after_a_rest_wake_whoever_looks_seldom(routes: Routes, clock: Clock) -> None:
    stirred: list[float] = []
    limiter = Limiter(routes, lambda: stirred.append(clock.now), clock)
    with limiter.down.lane(NEIGHBOUR) as lane:
        lane.spend(1, IMAGE)
        lane.spend(1, IMAGE)
        limiter.down.is_quiet = True
        lane.spend(1, IMAGE)
    assert len(stirred) == 2


def test_an_uplink_that_is_spent_lets_the_lan_go_on_and_what_went_beyond_is_counted(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as near, limiter.up.lane(FAR) as far:
        near.settle(70.0)
        far.settle(30.0)
        assert limiter.up.moved_beyond == 30.0
        _apply(limiter, Policy(uplink_held="it is spent"))
        assert (near.wait(IMAGE), far.wait(IMAGE) > 0) == (0.0, True)
        _apply(limiter, Policy())
        assert far.wait(IMAGE) == 0.0


def test_a_metered_interface_carries_nothing_also_for_sessions_that_come_later(limiter: Limiter) -> None:
    with limiter.up.lane(NEIGHBOUR) as lane:
        _apply(limiter, Policy(metered=("eth0",)))
        with limiter.up.lane(FAR) as later, limiter.up.lane("[fe80::7%wlan0]:7411") as other:
            assert (lane.wait(IMAGE) > 0, later.wait(IMAGE) > 0, other.wait(IMAGE)) == (True, True, 0.0)
