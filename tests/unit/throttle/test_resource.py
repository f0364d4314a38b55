"""The host comes first: what is short halves our rate at once, and gives it back when it is over."""

import math

import pytest

from dfedge.throttle.load import Battery, Cpu, Load, Memory, Pressure
from dfedge.throttle.policy import Policy, Profile
from dfedge.throttle.resource import Resources

LINE = 12_500_000.0
SHORT = {
    "celsius": (Load(celsius=85.0), "the board is at 85 °C"),
    "battery": (Load(battery=Battery(0.12, discharging=True)), "the battery is at 12% and discharging"),
    "pressure_io": (Load(pressure={"io": Pressure(80.0, 60.0)}), "programs waited for the disk in 80 % of the time"),
    "memory": (Load(memory=Memory(1 << 30, 20 << 20, 0)), "20 MiB of memory are left"),
    "cpu": (Load(cpu=Cpu(0.3, 0.95, 0.0, (1.0, 1.0))), "other programs use 95% of the CPU"),
}


@pytest.mark.parametrize("setting", SHORT)
def test_what_is_short_slows_us_within_five_seconds_and_is_named(setting: str) -> None:
    load, reason = SHORT[setting]
    resources = Resources()
    for _ in range(5):
        resources.step(load, LINE, Policy(), 1.0)
    assert resources.rate("down") <= LINE / 8
    why = resources.why("down")
    assert why is not None and why.reason == reason and why.setting == setting


@pytest.mark.parametrize("setting", SHORT)
def test_it_is_given_back_within_thirty_seconds(setting: str) -> None:
    resources = Resources()
    for _ in range(30):
        resources.step(SHORT[setting][0], LINE, Policy(), 1.0)
        assert resources.rate("down") >= Policy().floor
    for _ in range(30):
        resources.step(Load(), min(LINE, resources.rate("down")), Policy(), 1.0)
    assert resources.rate("down") == resources.rate("up") == math.inf
    assert resources.why("down") is None


def test_a_busy_disk_does_not_keep_us_from_sending() -> None:
    resources = Resources()
    resources.step(SHORT["pressure_io"][0], LINE, Policy(), 1.0)
    assert resources.rate("up") == math.inf
    assert resources.workers == 1


def test_heat_at_the_limit_does_not_swing_the_rate() -> None:
    resources = Resources()
    pressed = []
    for tenth in [799, 801, 799, 801, 799, 801]:
        resources.step(Load(celsius=tenth / 10), LINE, Policy(), 1.0)
        pressed.append(bool(resources.pressed))
    assert pressed == [False, True, True, True, True, True]


def test_our_share_of_a_busy_cpu_settles_where_it_may_be() -> None:
    resources, own = Resources(), LINE
    for _ in range(30):
        share = 0.3 * own / LINE
        resources.step(Load(cpu=Cpu(share, 0.95, 0.0, (1.0,))), own, Policy(), 1.0)
        own = min(LINE, resources.rate("down"))
    assert 0.3 * own / LINE == pytest.approx(Policy().own_cpu, rel=0.3)


def test_a_host_that_tells_nothing_holds_nothing_back() -> None:
    resources = Resources()
    resources.step(Load(), LINE, Policy(), 1.0)
    assert resources.rate("up") == resources.rate("down") == math.inf


def test_the_full_profile_minds_no_load() -> None:
    resources = Resources()
    resources.step(SHORT["celsius"][0], LINE, Policy(profile=Profile.FULL), 1.0)
    assert resources.rate("up") == math.inf


def test_our_own_waiting_for_the_disk_does_not_slow_us_where_it_cannot_be_told_apart() -> None:
    resources, policy = Resources(), Policy()
    resources.step(Load(pressure={"io": Pressure(30.0, 0.0, is_mixed=True)}), 1e8, policy, 1.0)
    assert resources.disk_limit == math.inf
    resources.step(Load(pressure={"io": Pressure(30.0, 0.0)}), 1e8, policy, 1.0)
    assert resources.disk_limit < math.inf
