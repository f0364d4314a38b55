"""Windows of the week: how they are written, when they hold, and what summer time does to them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dfedge.throttle.policy import Caps, Policy, Profile
from dfedge.throttle.timetable import Window, in_force, parse_window, wall_time

BERLIN = ZoneInfo("Europe/Berlin")


def _minutes(window: Window, day: datetime, hours: int) -> int:
    """How many minutes it holds, from a time in UTC on."""
    start = day.timestamp()
    return sum(window.holds(wall_time(start + 60 * minute, BERLIN)) for minute in range(hours * 60))


def test_a_window_changes_what_it_names_and_nothing_else() -> None:
    window = parse_window("mon-fri 08:00-18:00: max_down 8 Mbit/s, uplink_max_up 800 kbit/s, profile full")
    policy = window.over(Policy(host=Caps(up=5.0, down=6.0), floor=7.0))
    assert policy == Policy(Profile.FULL, Caps(5.0, 1_000_000.0), uplink=Caps(up=100_000.0), floor=7.0)
    assert window.when == "mon-fri 08:00-18:00"


def test_a_window_may_pause_and_says_which_it_is() -> None:
    policy = parse_window("sat,sun 00:00-24:00: pause").over(Policy())
    assert policy.paused == "sat,sun 00:00-24:00" and policy.paused_by == "throttle.windows"


def test_days_may_wrap_around_the_week_and_none_means_all() -> None:
    assert parse_window("fri-mon 00:00-01:00: pause").days == {4, 5, 6, 0}
    assert parse_window("00:00-01:00: pause").days == set(range(7))


def test_of_two_windows_the_later_counts() -> None:
    windows = [parse_window("00:00-24:00: max_up 8 Mbit/s"), parse_window("12:00-13:00: max_up 16 Mbit/s")]
    policy = Policy()
    for window in in_force(windows, datetime(2026, 11, 27, 12, 30, tzinfo=UTC)):
        policy = window.over(policy)
    assert policy.host.up == 2_000_000


def test_the_hour_that_summer_time_skips_has_no_window_and_the_night_around_it_an_hour_less() -> None:
    sunday = datetime(2027, 3, 27, 22, tzinfo=UTC)  # 23:00 in Berlin, the night in which 02:00 becomes 03:00
    assert _minutes(parse_window("sun 02:00-03:00: pause"), sunday, 8) == 0
    assert _minutes(parse_window("sun 00:00-06:00: pause"), sunday, 8) == 5 * 60


def test_the_hour_that_comes_twice_has_its_window_twice() -> None:
    sunday = datetime(2027, 10, 30, 21, tzinfo=UTC)  # the night in which 03:00 becomes 02:00
    assert _minutes(parse_window("sun 02:00-03:00: pause"), sunday, 10) == 2 * 60
    assert _minutes(parse_window("sun 00:00-06:00: pause"), sunday, 10) == 7 * 60


def test_the_day_ends_at_midnight_of_the_zone_not_of_utc() -> None:
    friday = datetime(2026, 11, 27, 22, 30, tzinfo=UTC)
    window = parse_window("sat 00:00-24:00: pause")
    assert not window.holds(wall_time(friday.timestamp(), BERLIN))
    assert window.holds(wall_time((friday + timedelta(minutes=30)).timestamp(), BERLIN))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("whenever", "is not a window"),
        ("08:00-18:00", "is not a window"),
        ("08:00-18:00: ", "is not a window"),
        ("22:00-06:00: pause", "ends before it starts"),
        ("08:00-08:00: pause", "ends before it starts"),
        ("08:00-25:00: pause", "not a time of the day"),
        ("08:00-12:60: pause", "not a time of the day"),
        ("mo-fr 08:00-18:00: pause", "are no days"),
        ("mon- 08:00-18:00: pause", "are no days"),
        ("08:00-18:00: max_down", "is not a rate"),
        ("08:00-18:00: max_down 5 parsecs", "is not a rate"),
        ("08:00-18:00: max_down 0 Mbit/s", "lets nothing pass"),
        ("08:00-18:00: max_sideways 5 Mbit/s", "can't stand in a window"),
        ("08:00-18:00: profile loud", "can't stand in a window"),
        ("08:00-18:00: pause,", "can't stand in a window"),
    ],
)
def test_a_window_that_means_nothing_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_window(text)
