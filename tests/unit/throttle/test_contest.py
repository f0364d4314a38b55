"""Both ways busy: none keeps the other small for long."""

from dfedge.throttle.contest import MORE, Contest
from dfedge.throttle.window import Window

CAPACITY = 12_500_000.0


def _run(windows: list[Window], seconds: float) -> list[float]:
    """Both ways of a link over one round trip; returns the mean rates of the second half."""
    contests = [Contest(), Contest()]
    rates, sums = [0.0, 0.0], [0.0, 0.0]
    rtt, steps = 0.0005, round(seconds * 10)
    for step in range(steps):
        for _ in range(50):  # until round trip and queues agree
            queues = [max(0.0, window.size - CAPACITY * rtt) / CAPACITY for window in windows]
            rtt += 0.2 * (0.0005 + sum(queues) - rtt)
        rates = [min(window.size / rtt, CAPACITY) for window in windows]
        for way in (0, 1):
            more = contests[way].step(rates[way], rates[1 - way], 0.1)
            windows[way].step(rtt - 0.0005, rtt, rates[way], 1, 0.008 * more)
        if step >= steps / 2:
            sums = [sums[way] + rates[way] / (steps / 2) for way in (0, 1)]
    return sums


def _windows(first: float, second: float) -> list[Window]:
    windows = [Window(), Window()]
    windows[0].size, windows[1].size = first, second
    return windows


def test_who_comes_late_gets_its_share() -> None:
    late, early = _run(_windows(8_000, 150_000), 30)
    assert late >= 0.5 * CAPACITY
    assert early >= 0.7 * CAPACITY


def test_a_try_that_gains_nothing_ends_in_a_rest() -> None:
    contest = Contest()
    said = [contest.step(1000.0, 1e6, 0.1) for _ in range(100)]
    assert 0.1 <= said.count(MORE) / len(said) <= 0.3


def test_a_way_that_rests_is_left_alone() -> None:
    contest = Contest()
    assert all(contest.step(0.0, 1e6, 0.1) == 1.0 for _ in range(100))


def test_a_queue_that_is_not_ours_does_not_take_all_from_us() -> None:
    window = Window()
    for _ in range(100):
        window.step(0.013, 0.0135, 1e6, 1, 0.008, CAPACITY)
    assert window.size / 0.0135 >= 0.25 * CAPACITY


def test_a_path_that_never_carried_much_is_not_given_much() -> None:
    window = Window()
    for _ in range(100):
        window.step(0.020, 0.0205, 1e5, 1, 0.008, 1e5)
    assert window.size < 16_000
