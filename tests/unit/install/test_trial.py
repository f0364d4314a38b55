"""A new version on trial: it stays if it is healthy, and whatever dies in between, a version runs that works."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from dying import killed_at, starts
from host import FakeSystem, names

from dfedge.core.errors import NotFound, Refused
from dfedge.install import guard
from dfedge.install.install import install, update
from dfedge.install.place import Place
from dfedge.install.trial import settle
from dfedge.install.version import alone, linked

PYTHON: Final = Path(sys.executable)


@pytest.fixture
def running(place: Place, judge: Any, system: FakeSystem, pyz: Any) -> FakeSystem:
    """Version 1.0 is installed and runs."""
    install(place, pyz("1.0"), PYTHON, judge)
    system.restart()
    system.said.clear()
    return system


def current(place: Place) -> str:
    found = linked(place.folder, guard.CURRENT)
    assert found is not None
    return found.number


def test_a_healthy_version_stays_and_two_are_kept(place: Place, judge: Any, running: FakeSystem, pyz: Any) -> None:
    for number in ("2.0", "3.0"):
        assert update(place, pyz(number), judge, python=PYTHON).judged
    assert (current(place), running.running, names(place)) == ("3.0", "3.0", ["2.0", "3.0"])
    assert guard.read_trial(place.folder) is None


def test_a_sick_version_goes_and_the_one_before_runs_again(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    update(place, pyz("2.0"), judge, python=PYTHON)
    running.sick.add("3.0")
    with pytest.raises(Refused, match=r"3\.0 .*not healthy within 0\.2 s: no agent answers; 2\.0 .* runs again"):
        update(place, pyz("3.0"), judge, python=PYTHON)
    assert (current(place), running.running, running.state) == ("2.0", "2.0", "active")
    assert names(place) == ["1.0", "2.0"]
    assert guard.read_trial(place.folder) is None


def test_where_the_one_before_is_sick_too_it_says_so(place: Place, judge: Any, running: FakeSystem, pyz: Any) -> None:
    running.sick |= {"1.0", "2.0"}
    with pytest.raises(Refused, match=r"1\.0 .* is back, and not healthy either: no agent answers"):
        update(place, pyz("2.0"), judge, python=PYTHON)
    assert current(place) == "1.0"


def test_ctrl_c_during_the_trial_goes_back(place: Place, judge: Any, running: FakeSystem, pyz: Any) -> None:
    running.sick.add("2.0")

    def interrupted() -> Any:
        raise KeyboardInterrupt

    object.__setattr__(judge, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(place, pyz("2.0"), judge, python=PYTHON)
    assert (current(place), running.running) == ("1.0", "1.0")


def test_the_version_that_runs_is_not_put_on_trial_again(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    assert not update(place, pyz("1.0"), judge, python=PYTHON).steps
    assert not running.said


def test_an_agent_that_was_stopped_by_hand_is_not_started(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    running.stop()
    done = update(place, pyz("2.0"), judge, python=PYTHON)
    assert (done.judged, running.state, current(place), names(place)) == (False, "inactive", "2.0", ["1.0", "2.0"])


def test_an_update_of_nothing_says_what_to_do(place: Place, judge: Any, pyz: Any) -> None:
    with pytest.raises(NotFound, match="not installed") as error:
        update(place, pyz("1.0"), judge, python=PYTHON)
    assert error.value.hint == "dfedge service install"


def on_trial(place: Place, running: FakeSystem, judge: Any, pyz: Any) -> None:
    """An update to 2.0 whose updater was killed after the restart."""

    class Dead:
        system, can = running, True

        def restarted(self) -> str:
            running.restart()
            os._exit(9)

        def __getattr__(self, name: str) -> Any:
            return getattr(judge, name)

    child = os.fork()
    if child == 0:
        update(place, pyz("2.0"), Dead(), python=PYTHON)  # type: ignore[arg-type]
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert current(place) == "2.0"
    assert guard.read_trial(place.folder) is not None


def test_the_next_start_goes_back_where_the_judge_was_killed(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    on_trial(place, running, judge, pyz)
    running.restart()
    assert (current(place), running.running) == ("1.0", "1.0")
    assert guard.read_trial(place.folder) is None


def test_a_start_during_the_trial_leaves_it_to_the_judge(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    on_trial(place, running, judge, pyz)
    with alone(place.folder):
        running.restart()
    assert (current(place), running.running) == ("2.0", "2.0")


@pytest.mark.parametrize("sick", [False, True])
def test_the_next_command_judges_what_was_left(
    place: Place, judge: Any, running: FakeSystem, pyz: Any, sick: bool
) -> None:
    on_trial(place, running, judge, pyz)
    running.running, running.state = "2.0", "activating" if sick else "active"  # what the child's restart did
    link = place.folder / guard.CURRENT
    os.utime(link, (link.lstat().st_atime, link.lstat().st_mtime - 10), follow_symlinks=False)
    with alone(place.folder):
        said = settle(place, judge)
    assert ("stays" in said, "back to 1.0" in said) == (not sick, sick)
    assert (current(place), running.running) == (("1.0", "1.0") if sick else ("2.0", "2.0"))
    assert guard.read_trial(place.folder) is None
    assert names(place) == ["1.0", "2.0"]


def test_killed_anywhere_in_an_update_the_next_start_runs_a_whole_version(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    new, step, seen = pyz("2.0"), 0, set()
    while True:
        step += 1
        reached = killed_at(step, lambda: update(place, new, judge, python=PYTHON, proof=lambda *_: None))
        seen.add(starts(place))
        if not reached:
            break
        if current(place) == "2.0":  # it had been accepted: only what is not needed is left
            install(place, pyz("1.0"), PYTHON, judge, proof=lambda *_: None)
        running.state = "active"
    assert step > 20
    assert seen == {"1.0", "2.0"}
    assert current(place) == "2.0"
    assert names(place) == ["1.0", "2.0"]


def test_killed_anywhere_in_an_install_the_next_one_completes_it(place: Place, judge: Any, pyz: Any) -> None:
    new, step = pyz("1.0"), 0
    while killed_at(step := step + 1, lambda: install(place, new, PYTHON, judge, proof=lambda *_: None)):
        assert starts(place) in ("nothing", "1.0")
        if step % 3 == 0:  # from the start again, else from where it was left
            subprocess.run(["rm", "-rf", place.folder, place.unit, place.wants, place.program], check=True)
    assert step > 20
    assert starts(place) == "1.0"
    assert not install(place, new, PYTHON, judge).steps
    assert not list(place.folder.glob(".new-*"))
