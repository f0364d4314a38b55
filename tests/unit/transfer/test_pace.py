"""A flood is told from a busy peer."""

import pytest

from dfedge.core.errors import ProtocolError
from dfedge.transfer.pace import WINDOW_S, Pace


def test_a_flood_is_cut_off_and_a_busy_peer_is_not() -> None:
    now = [0.0]
    pace = Pace(100, "speaks", lambda: now[0])
    for _ in range(1000):
        now[0] += WINDOW_S / 90
        pace.count()
    now[0] += WINDOW_S
    _count(pace, 100)
    with pytest.raises(ProtocolError, match="speaks more than 100 times in 10 s"):
        _count(pace, 101)


def _count(pace: Pace, times: int) -> None:
    for _ in range(times):
        pace.count()
