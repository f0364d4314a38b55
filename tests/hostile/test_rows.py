"""The rows of docs/reliability.md about neighbours, strangers and networks, as anyone can measure them."""

import os
from pathlib import Path

import pytest
from faults import fakes, malformed, memory, network, revoked, storm
from faults.row import Measure
from soak import __main__ as soak

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(3600)]

ANYWHERE: dict[str, Measure] = {"malformed": malformed.measure, "storm": storm.measure, "revoked": revoked.measure}
IN_A_LAN: dict[str, Measure] = {
    "fakes": fakes.measure,
    **{name: network.measure(name) for name in network.FAULTS},
}


@pytest.mark.parametrize("name", ANYWHERE)
def test_a_row_holds(name: str, tmp_path: Path) -> None:
    row = ANYWHERE[name](tmp_path)
    assert row.holds, str(row)


@pytest.mark.skipif(not os.access(memory.CGROUPS / "cgroup.procs", os.W_OK), reason="no memory cgroup (v1) to write to")
def test_a_get_completes_in_96_mib_of_memory(tmp_path: Path) -> None:
    row = memory.measure(tmp_path)
    assert row.holds, str(row)


@pytest.mark.netns
@pytest.mark.parametrize("name", IN_A_LAN)
def test_a_row_holds_on_a_lan(name: str, tmp_path: Path) -> None:
    row = IN_A_LAN[name](tmp_path)
    assert row.holds, str(row)


@pytest.mark.netns
def test_a_fleet_in_every_trouble_at_once_is_whole_again_when_they_end(tmp_path: Path) -> None:
    found = soak.measure(tmp_path, minutes=1, seed=2, nodes=4)
    promises = [row for row in found.rows if "MiB/h" not in row[0]]  # a minute says nothing of an hour
    assert all(row[3] for row in promises), str(found)
