"""The rows of docs/reliability.md about neighbours, strangers and networks, as anyone can measure them."""

from pathlib import Path

import pytest
from faults import fakes, malformed, network, revoked, storm
from faults.row import Measure

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ANYWHERE: dict[str, Measure] = {"malformed": malformed.measure, "storm": storm.measure, "revoked": revoked.measure}
IN_A_LAN: dict[str, Measure] = {
    "fakes": fakes.measure,
    **{name: network.measure(name) for name in network.FAULTS},
}


@pytest.mark.parametrize("name", ANYWHERE)
def test_a_row_holds(name: str, tmp_path: Path) -> None:
    row = ANYWHERE[name](tmp_path)
    assert row.holds, str(row)


@pytest.mark.netns
@pytest.mark.parametrize("name", IN_A_LAN)
def test_a_row_holds_on_a_lan(name: str, tmp_path: Path) -> None:
    row = IN_A_LAN[name](tmp_path)
    assert row.holds, str(row)
