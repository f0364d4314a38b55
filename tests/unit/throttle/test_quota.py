"""What may go beyond the LAN in a day and a month, whatever the clock does."""

from datetime import date

from dfedge.throttle.quota import Allotment, Used


def test_days_and_months_are_counted_apart() -> None:
    used = Used(date(2026, 11, 29)).add(10, date(2026, 11, 29)).add(5, date(2026, 11, 30))
    assert (used.in_day, used.in_month) == (5, 15)
    assert used.add(1, date(2026, 12, 1)) == Used(date(2026, 12, 1), 1, 1)


def test_a_clock_that_goes_back_gives_nothing_back_and_the_next_day_does() -> None:
    used = Used(date(2036, 1, 1), 100, 100).add(0, date(1970, 1, 1))
    assert (used.in_day, used.in_month) == (100, 100)
    assert used.add(0, date(2026, 11, 27)).in_day == 0


def test_the_limit_that_is_reached_is_named() -> None:
    limits = Allotment(day=100, month=1000)
    today = date(2026, 11, 27)
    assert limits.spent(Used(today, 99, 999)) == ("", "")
    assert limits.spent(Used(today, 100, 100))[1] == "throttle.uplink_day"
    assert limits.spent(Used(today, 0, 1000))[1] == "throttle.uplink_month"
    assert Allotment().spent(Used(today, 10**15, 10**15)) == ("", "")
