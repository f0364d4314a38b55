"""The whole controller: one budget, one reason, never over a cap, never under the floor."""

import math
import random

import pytest

from dfedge.throttle.controller import Controller
from dfedge.throttle.load import Battery, Cpu, Load, Pressure, Traffic
from dfedge.throttle.policy import Caps, Policy, Profile
from dfedge.throttle.timetable import parse_window

QUIET = Traffic()


def _busy(own: float, total: float, delay: float = 0.001, peers: int = 1) -> Traffic:
    return Traffic(own, total, delay, 0.0005 + delay, peers, "kiosk-07")


def test_an_idle_host_has_no_limit_and_says_so() -> None:
    budget = Controller().step({"eth0": (QUIET, QUIET)}, Load(), Policy(), 1.0)
    assert budget.up.rate == budget.down.rate == math.inf
    assert budget.reason == "no limit"
    assert budget.workers == 2


def test_the_tighter_of_cap_load_and_link_counts_and_gives_the_reason() -> None:
    controller, policy = Controller(), Policy(host=Caps(down=2_500_000))
    budget = controller.step({"eth0": (QUIET, _busy(1e6, 1e6))}, Load(), policy, 0.1)
    assert budget.down.reason == "cap of 20 Mbit/s down"
    assert budget.down.setting == "throttle.max_down"
    for _ in range(10):
        budget = controller.step({"eth0": (QUIET, _busy(1e6, 1e6))}, Load(celsius=85.0), policy, 1.0)
    assert budget.down.reason == "the board is at 85 °C (the floor)"
    assert budget.host_down == policy.floor
    assert {limit.reason for way, limit in budget.limits if way == "down"} >= {"cap of 20 Mbit/s down"}


def test_a_path_that_queues_is_named() -> None:
    controller = Controller()
    for _ in range(10):
        budget = controller.step({"eth0": (QUIET, _busy(1e6, 1e6, 0.031))}, None, Policy(), 0.1)
    assert budget.down.reason == "the path to kiosk-07 queues 31 ms"
    assert budget.up.rate == math.inf


def test_paused_is_a_budget_of_nothing_with_its_reason() -> None:
    budget = Controller().step({}, None, Policy(paused="for 2 h by a command"), 1.0)
    assert budget.up.rate == 0.0
    assert budget.reason == "paused: for 2 h by a command"


def test_a_waiting_disk_sets_the_write_pace() -> None:
    load = Load(pressure={"io": Pressure(80.0, 60.0)})
    budget = Controller().step({"eth0": (QUIET, _busy(1e7, 1e7))}, load, Policy(), 1.0)
    assert budget.write_pace.rate < 1e7
    assert budget.write_pace.reason == "programs waited for the disk in 80 % of the time"
    assert budget.workers == 1


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_host_does_the_floor_and_the_caps_hold(seed: int) -> None:
    rng, controller = random.Random(seed), Controller()
    policy = Policy(host=Caps(up=1_000_000, down=5_000_000))
    for _ in range(2000):
        ways = [
            _busy(own, own + rng.choice([0, 0, rng.uniform(0, 1e7)]), rng.uniform(0, 0.1), rng.randint(1, 9))
            for own in (rng.uniform(0, 1e7), rng.uniform(0, 1e7))
        ]
        cpu = Cpu(rng.random() / 2, rng.random(), 0.0, (rng.random(),))
        load = Load(cpu=cpu, celsius=rng.uniform(20, 100), pressure={"io": Pressure(rng.uniform(0, 60), 0.0)})
        budget = controller.step({"eth0": (ways[0], ways[1])}, load, policy, 0.1)
        assert policy.floor <= budget.host_up <= 1_000_000
        assert policy.floor <= budget.host_down <= 5_000_000
        assert budget.links is not None
        for share in (budget.links["eth0"].up, budget.links["eth0"].down):
            assert share.rate.rate >= policy.floor
            assert share.window is not None and share.window >= 4096
        assert budget.reason


def test_who_gives_way_to_a_download_knows_what_of_its_peers_round_trips_that_is() -> None:
    controller = Controller()
    full, half = _busy(12e6, 12e6), _busy(6e6, 6e6, 0.018)
    for _ in range(20):
        budget = controller.step({"eth0": (full, full)}, None, Policy(), 0.1)
    assert budget.links is not None and budget.links["eth0"].up.strain_s == 0.0
    for _ in range(10):
        budget = controller.step({"eth0": (half, _busy(1e6, 12e6, 0.018))}, None, Policy(), 0.1)
    assert budget.links is not None
    assert (budget.links["eth0"].up.strain_s, budget.links["eth0"].down.strain_s) == (0.018, 0.0)
    budget = controller.step({"eth0": (QUIET, _busy(1e6, 12e6, 0.018))}, None, Policy(), 0.1)
    assert budget.links is not None and budget.links["eth0"].up.strain_s == 0.018  # a moment without our bytes
    for _ in range(10):
        budget = controller.step({"eth0": (full, full)}, None, Policy(), 0.1)
    assert budget.links is not None and budget.links["eth0"].up.strain_s == 0.0


def test_a_full_profile_gives_way_to_nobody_and_complains_to_nobody() -> None:
    controller = Controller()
    for _ in range(30):
        seen = (_busy(6e6, 6e6, 0.018), _busy(1e6, 12e6, 0.018))
        budget = controller.step({"eth0": seen}, None, Policy(profile=Profile.FULL), 0.1)
    assert budget.links is not None and budget.links["eth0"].up.strain_s == 0.0


def test_an_interface_that_went_away_is_forgotten() -> None:
    controller = Controller()
    controller.step({"wlan0": (QUIET, QUIET)}, None, Policy(), 1.0)
    budget = controller.step({}, None, Policy(), 1.0)
    assert budget.links == {}


def test_a_cap_in_per_cent_is_of_the_speed_of_each_link() -> None:
    policy, speeds = Policy(link_down=0.5), {"eth0": 12_500_000.0}
    traffic = {"eth0": (QUIET, QUIET), "wlan0": (QUIET, QUIET)}
    budget = Controller().step(traffic, None, policy, 0.1, speeds)
    assert budget.links is not None
    assert budget.links["eth0"].down.rate.rate == 6_250_000
    assert budget.links["eth0"].up.rate.rate == budget.links["wlan0"].down.rate.rate == math.inf
    assert budget.down.reason == "cap of 50% of eth0 (100 Mbit/s) down"
    assert budget.down.setting == "throttle.max_down"


def test_a_low_battery_pauses_only_where_it_is_told_to() -> None:
    low, charging = Load(battery=Battery(0.12, discharging=True)), Load(battery=Battery(0.12, discharging=False))
    assert not Controller().step({"eth0": (QUIET, QUIET)}, low, Policy(), 1.0).paused
    controller, policy = Controller(), Policy(battery_pauses=True)
    budget = controller.step({"eth0": (QUIET, QUIET)}, low, policy, 1.0)
    assert budget.paused == "the battery is at 12% and discharging"
    assert budget.up.rate == 0.0 and budget.reason == f"paused: {budget.paused}"
    assert not controller.step({"eth0": (QUIET, QUIET)}, charging, policy, 1.0).paused


def test_what_holds_for_some_peers_only_is_told_and_is_not_the_budget_of_all() -> None:
    policy = Policy(uplink_held="2 GiB of 2 GiB this day are spent", uplink_held_by="throttle.uplink_day")
    budget = Controller().step({"eth0": (QUIET, QUIET)}, None, policy, 1.0)
    assert budget.up.rate == math.inf
    assert [limit.setting for way, limit in budget.limits if way == "up"] == ["throttle.uplink_day"]


def test_a_cap_of_a_window_is_not_blamed_on_the_usual_setting() -> None:
    policy = parse_window("00:00-24:00: max_down 8 Mbit/s").over(Policy(host=Caps(1e6, 2e6)))
    budget = Controller().step({"eth0": (QUIET, QUIET)}, None, policy, 1.0)
    assert (budget.down.setting, budget.up.setting) == ("throttle.windows", "throttle.max_up")
