"""Power cuts and kills at random moments of a get between two real agents: what `scripts/faults` finds."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults"
UNABLE = 77


def _run(what: str, rounds: int, mebibytes: int) -> None:
    command = [sys.executable, str(SCRIPT), what, "--rounds", str(rounds), "--size", str(mebibytes), "--patient"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == UNABLE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_a_node_whose_power_is_cut_shows_nothing_wrong_and_loses_no_more_than_a_window() -> None:
    _run("powercut", 5, 24)


def test_a_node_that_is_killed_shows_nothing_wrong_and_loses_nothing() -> None:
    _run("kill", 10, 24)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("what", "rounds"), [("powercut", 50), ("kill", 200)])
def test_many_times_over_a_get_of_64_mib(what: str, rounds: int) -> None:
    _run(what, rounds, 64)
