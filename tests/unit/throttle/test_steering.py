"""Who tells the throttle what: settings, windows, what is spent, a pause by command, another program's file."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dfedge.throttle.orders import Orders
from dfedge.throttle.policy import Caps, Policy
from dfedge.throttle.quota import Allotment, Used
from dfedge.throttle.steering import SAVE_S, Steering
from dfedge.throttle.timetable import parse_window


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """Keeps in memory what a file would."""

    def __init__(self, used: Used | None = None) -> None:
        self.used = used
        self.writes = 0

    def read(self) -> Used | None:
        return self.used

    def write(self, used: Used) -> None:
        self.used, self.writes = used, self.writes + 1


def steering(hold_file: Path | None = None) -> tuple[Steering, list[Policy], Clock]:
    applied: list[Policy] = []
    clock = Clock()
    steer = Steering(Orders(hold_file=hold_file, zone=UTC), applied.append, clock, lambda: 0.0)
    applied.clear()
    return steer, applied, clock


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_pause_ends_when_its_time_is_over() -> None:
    steer, applied, clock = steering()
    steer.pause(60.0)
    assert steer.pause_left_s == 60.0
    clock.now += 59.0
    steer.look()
    assert steer.paused
    clock.now += 1.0
    steer.look()
    assert steer.paused == ""
    assert [bool(policy.paused) for policy in applied] == [True, False]


def test_a_pause_without_an_end_lasts_until_somebody_resumes() -> None:
    steer, _, clock = steering()
    steer.pause(None)
    clock.now += 1e9
    steer.look()
    assert steer.pause_left_s is not None
    steer.resume()
    assert steer.paused == ""


def test_nothing_moves_while_an_application_holds_the_file_and_resume_does_not_take_it_from_it(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    steer, _, _ = steering(hold)
    hold.touch()
    steer.look()
    assert steer.paused == f"{hold} exists"
    steer.resume()
    assert steer.paused
    hold.unlink()
    steer.look()
    assert not steer.paused


def test_a_file_that_cannot_be_looked_at_neither_holds_nor_ends_the_agent() -> None:
    steer, _, _ = steering(Path("/" + "x" * 300))  # too long a name for any file system
    steer.look()
    assert not steer.paused


def test_new_settings_hold_at_once_and_do_not_end_a_pause() -> None:
    steer, applied, _ = steering()
    steer.pause(None)
    steer.settings(Orders(Policy(host=Caps(up=1000.0))))
    assert applied[-1].host.up == 1000.0 and applied[-1].paused


def test_what_has_not_changed_is_not_handed_on_again() -> None:
    steer, applied, _ = steering()
    steer.look()
    steer.settings(Orders(zone=UTC))
    assert applied == []


def test_a_window_holds_from_its_minute_to_its_end_without_a_restart() -> None:
    wall = Clock()
    wall.now = at("2026-11-27T07:59:59+00:00")  # a Friday
    orders = Orders(zone=UTC, windows=(parse_window("mon-fri 08:00-18:00: max_down 8 Mbit/s, profile balanced"),))
    applied: list[Policy] = []
    steer = Steering(orders, applied.append, Clock(), wall)
    assert applied[-1] == Policy()
    wall.now += 1
    steer.look()
    assert (applied[-1].host.down, applied[-1].profile.value) == (1_000_000, "balanced")
    wall.now = at("2026-11-27T18:00:00+00:00")
    steer.look()
    assert applied[-1] == Policy()


def test_what_is_spent_beyond_the_lan_holds_the_uplink_and_a_new_day_frees_it() -> None:
    wall, moved = Clock(), Clock()
    wall.now, moved.now = at("2026-11-27T12:00:00+00:00"), 0.0
    applied: list[Policy] = []
    steer = Steering(Orders(zone=UTC, uplink=Allotment(day=1000)), applied.append, Clock(), wall, moved)
    moved.now = 999.0
    steer.look()
    assert [policy.uplink_held_by for policy in applied] == [""]
    moved.now = 1000.0
    steer.look()
    wall.now = at("2026-11-28T00:00:00+00:00")
    steer.look()
    assert [policy.uplink_held_by for policy in applied] == ["", "throttle.uplink_day", ""]


def test_what_is_spent_outlives_the_agent_and_rest_writes_nothing() -> None:
    wall, moved, clock = Clock(), Clock(), Clock()
    wall.now, moved.now = at("2026-11-27T12:00:00+00:00"), 0.0
    kept = Kept(Used(datetime.fromtimestamp(wall.now, UTC).date(), 400, 5000))
    steer = Steering(Orders(zone=UTC), lambda _: None, clock, wall, moved, kept)
    for _ in range(5):
        clock.now += SAVE_S
        steer.look()
    assert kept.writes == 0
    moved.now = 100.0
    clock.now += SAVE_S
    steer.look()
    assert kept.writes == 1
    assert kept.used == replace(steer.used, in_day=500, in_month=5100)
