"""Whose bytes they are: ours by the sessions' counters, the rest of the interface's payload is somebody else's."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dfedge.throttle.path import Info, Socket, Step
from dfedge.throttle.route import Routes
from dfedge.throttle.traffic import Counter, Meters


@dataclass
class Session:
    name: str
    address: str
    socket: Socket | None = None
    strain: tuple[float, float] = (0.0, 0.0)

    def say_strained(self, up_ms: int, down_ms: int) -> None: ...


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/route").write_text("Iface ...\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
    return Routes(proc=tmp_path)


def _step(name: str, down: int, delay_ms: float, *, fresh: bool = True) -> Step:
    info = Info(0.0005 + delay_ms / 1000, 0.0005, fresh, 0, 0, 0, down, 10, 10)
    return Step(Session(name, "192.0.2.7:7411"), info, 0, down, 10, down // 1448)


def _run(meters: Meters, ticks: int, ours: int, foreign: int, burst: int, *steps: Step) -> dict[str, float]:
    """`burst` segments are one packet to the card."""
    received = packets = 0
    for tick in range(ticks):
        received += ours + foreign
        packets += (ours + foreign) // 1448 // burst
        counter = Counter(0, received + 66 * packets, 0, packets)
        found = meters.step(1.0 + tick * 0.1, {"eth0": counter}, steps or [_step("a", ours, 1.0)])
    down = found["eth0"][1]
    return {"own": down.own, "foreign": down.foreign, "delay": down.delay_s or 0.0}


@pytest.mark.parametrize("burst", [1, 20])
def test_foreign_bytes_are_found_however_the_card_counts(burst: int, routes: Routes) -> None:
    seen = _run(Meters(routes), 20, 1_000_000, 250_000, burst)
    assert seen["own"] == pytest.approx(10_000_000, rel=0.01)
    assert seen["foreign"] == pytest.approx(2_500_000, rel=0.02)


def test_alone_nothing_is_foreign(routes: Routes) -> None:
    assert _run(Meters(routes), 20, 1_000_000, 0, 1)["foreign"] < 10_000


def test_the_path_that_queues_least_says_whether_it_is_our_link(routes: Routes) -> None:
    steps = [_step("far", 500_000, 40.0), _step("near", 500_000, 3.0), _step("stale", 500_000, 1.0, fresh=False)]
    meters = Meters(routes)
    found = _run(meters, 10, 1_500_000, 0, 1, *steps)
    assert found["delay"] == pytest.approx(0.003)


def test_what_a_peer_says_of_its_link_goes_with_its_path_each_way_for_itself(routes: Routes) -> None:
    near, far = _step("near", 500_000, 3.0), _step("far", 500_000, 40.0)
    near = replace(near, session=Session("near", "192.0.2.7:7411", strain=(0.01, 0.02)), up=500_000)
    far = replace(far, session=Session("far", "192.0.2.8:7411", strain=(0.05, 0.05)), up=500_000)
    meters = Meters(routes)
    for tick in range(3):
        counter = Counter(10**6 * tick, 10**6 * tick, 10**3 * tick, 10**3 * tick)
        up, down = meters.step(1.0 + tick * 0.1, {"eth0": counter}, [near, far])["eth0"]
    assert (up.strain_s, down.strain_s) == (0.01, 0.02)


def test_sessions_on_this_host_are_no_matter(routes: Routes) -> None:
    step = Step(Session("self", "127.0.0.1:7411"), _step("a", 1, 1.0).info, 0, 10**6, 1, 1)
    assert Meters(routes).step(1.0, {"lo": Counter(0, 10**6, 0, 9)}, [step]) == {}
