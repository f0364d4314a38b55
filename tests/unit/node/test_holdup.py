"""`dfedge why` names what holds a transfer back, what costs most first, and settings that exist."""

import math
import re
from pathlib import Path

import pytest

from dfedge.node.config import SETTINGS
from dfedge.node.holdup import holds, holds_image, line_of, not_limiting
from dfedge.throttle.controller import Budget, Controller, Limit, Link, Share
from dfedge.throttle.load import Battery, Cpu, Disk, Load, Memory, Pressure, Traffic
from dfedge.throttle.policy import Caps, Policy

LINE = 12_500_000.0
QUIET = Traffic()
COMFORT = Load(Cpu(0.03, 0.2, 0.0, (0.2,) * 4), Memory(1 << 32, 1 << 31, 0), Disk(0.1, 0.2, 1e6, 0.0), 57.0)


def budget(*limits: Limit, line: float = LINE) -> Budget:
    share = Share(Limit(), None, Limit(), line)
    return Budget(links={"eth0": Link(share, share)}, limits=tuple(("down", limit) for limit in limits))


def test_the_tightest_limit_comes_first_with_what_it_costs_of_the_line() -> None:
    wide = Limit(2_500_000, "cap of 20 Mbit/s down", "throttle.max_down")
    tight = Limit(2_000_000, "another flow on eth0 takes 80 Mbit/s", "throttle.profile")
    found = holds(budget(wide, tight), COMFORT, "down", 1_950_000)
    assert [(hold.setting, hold.cost) for hold in found] == [
        ("throttle.profile", LINE - 2_000_000),
        ("throttle.max_down", LINE - 2_500_000),
    ]


def test_a_cap_that_is_far_off_is_not_blamed() -> None:
    cap = Limit(LINE, "cap of 100 Mbit/s down", "throttle.max_down")
    assert holds(budget(cap), COMFORT, "down", 1_000_000) == []
    idle = dict(not_limiting(budget(cap), COMFORT, "down", 1_000_000, []))
    assert idle["cap of 100 Mbit/s down"] == "8.0 Mbit/s moved of 100 Mbit/s"
    assert idle.keys() >= {"CPU", "memory", "disk", "temperature"}


def test_what_a_limit_costs_is_not_invented_where_the_line_never_carried_more() -> None:
    cap = Limit(2_500_000, "cap of 20 Mbit/s down", "throttle.max_down")
    (hold,) = holds(budget(cap, line=2_500_000), COMFORT, "down", 2_400_000)
    assert hold.cost is None
    assert line_of(Budget(), "down") is None


def test_a_window_that_swings_costs_no_more_than_what_is_missing_of_the_line() -> None:
    window = Limit(4_000_000, "the path to kiosk-07 queues 15 ms", "throttle.profile")
    (hold,) = holds(budget(window), COMFORT, "down", 9_500_000)
    assert hold.cost == LINE - 9_500_000


def test_what_was_asked_for_with_an_image_is_blamed_with_what_to_do_about_it() -> None:
    waits, capped = holds_image(100_000, gives_way=True, line=LINE, moving=90_000)
    assert (waits.reason, waits.advice) == ("an image of a higher priority goes first", "get it with --priority high")
    assert (capped.reason, capped.cost) == ("its own cap, get --max-rate: 0.8 Mbit/s", LINE - 100_000)
    assert holds_image(100_000, gives_way=False, line=LINE, moving=10_000) == [], "it is far off"
    assert holds_image(None, gives_way=False, line=LINE, moving=10_000) == []


def test_a_pause_holds_back_what_does_not_move() -> None:
    (hold,) = holds(budget(Limit(0.0, "paused: by command")), COMFORT, "down", 0.0)
    assert (hold.reason, hold.cost) == ("the throttle: paused: by command", LINE)


def test_what_holds_for_some_peers_only_is_no_matter_while_others_give() -> None:
    spent = Limit(0.0, "nothing goes beyond the LAN: it is spent", "throttle.uplink_day", is_partial=True)
    assert holds(budget(spent), COMFORT, "down", 1e6) == []
    (hold,) = holds(budget(spent), COMFORT, "down", 0.0)
    assert hold.setting == "throttle.uplink_day"


@pytest.mark.parametrize(
    ("load", "kind", "idle"),
    [
        (Load(Cpu(0.245, 0.0, 0.0, (1.0, 0.0, 0.0, 0.0)), disk=Disk(0.1, 0, 0, 0)), "cpu", "disk"),
        (Load(Cpu(0.02, 0.9, 0.0, (0.95, 0.95)), disk=Disk(0.1, 0, 0, 0)), "cpu", "disk"),
        (Load(Cpu(0.02, 0.1, 0.0, (0.1, 0.1)), disk=Disk(0.97, 9.0, 1e7, 0)), "disk", "CPU"),
    ],
)
def test_a_core_or_a_disk_that_is_used_up_is_named_without_a_limit(load: Load, kind: str, idle: str) -> None:
    found = holds(budget(), load, "down", 1e6)
    assert [hold.kind for hold in found] == [kind]
    assert idle in dict(not_limiting(budget(), load, "down", 1e6, found))
    assert holds(budget(), load, "down", 0.0) == []  # nothing moves, so that is not why


def test_a_resource_that_is_short_is_not_called_no_matter() -> None:
    hot = Limit(62_500, "the board is at 85 °C", "throttle.celsius")
    found = holds(budget(hot), COMFORT, "down", 60_000)
    assert "temperature" not in dict(not_limiting(budget(hot), COMFORT, "down", 60_000, found))


SHORT = {
    "cpu": Load(cpu=Cpu(0.3, 0.95, 0.0, (1.0, 1.0))),
    "memory": Load(memory=Memory(1 << 30, 20 << 20, 0)),
    "celsius": Load(celsius=95.0),
    "battery": Load(battery=Battery(0.05, discharging=True)),
    "pressure_io": Load(pressure={"io": Pressure(80.0, 60.0)}),
    "pressure_memory": Load(pressure={"memory": Pressure(80.0, 60.0)}),
}


def settings_of(policy: Policy, load: Load | None, *seen: Traffic) -> set[str]:
    """The settings that the controller names while a transfer runs beside such a load and such flows."""
    controller, named = Controller(), set()
    for traffic in seen:
        for _ in range(12):
            step = controller.step({"eth0": (traffic, traffic)}, load, policy, 0.5)
            named |= {limit.setting for _, limit in step.limits if limit.rate < math.inf}
            named |= {step.write_pace.setting, step.up.setting, step.down.setting}
    return named - {""}


def test_every_limit_names_a_setting_that_exists() -> None:
    ours = Traffic(LINE, LINE, 0.001, 0.002, 1, "kiosk-07", LINE)
    caps = Policy(host=Caps(1e6, 1e6), lan=Caps(1e6, 1e6), uplink=Caps(1e6, 1e6))
    named = settings_of(caps, None, ours)
    assert len(named) == 6
    for name, load in SHORT.items():
        found = settings_of(Policy(), load, ours)
        assert f"throttle.{name}" in found
        named |= found
    beside = Traffic(LINE / 4, LINE, 0.001, 0.002, 1, "kiosk-07", LINE)
    queueing = Traffic(LINE / 4, LINE / 4, 0.031, 0.040, 1, "kiosk-07", LINE)
    named |= settings_of(Policy(), None, ours, beside)
    named |= settings_of(Policy(), None, queueing)
    held = Policy(paused="a window", paused_by="throttle.windows", metered=("wwan0",), link_up=0.5)
    named |= settings_of(held, None, QUIET)
    named |= settings_of(Policy(battery_pauses=True), SHORT["battery"], QUIET)
    assert {"throttle.profile", "throttle.windows", "throttle.metered", "throttle.battery_action"} < named
    assert named <= SETTINGS.keys()


def test_no_setting_is_spelt_in_the_throttle_that_does_not_exist() -> None:
    folder = Path(__file__).parents[3] / "dfedge" / "throttle"
    spelt = {
        setting
        for file in folder.glob("*.py")
        for setting in re.findall(r'"(throttle\.[a-z_]+)"', file.read_text(encoding="utf-8"))
    }
    assert spelt and spelt <= SETTINGS.keys()
