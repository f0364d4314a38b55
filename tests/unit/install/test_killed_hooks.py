"""Killed at any call of the disk: what runs hooks as root is whole or not in use, and the agent's version runs on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from dying import killed_at, starts
from host import FakeSystem

from dfedge.install import guard
from dfedge.install.file import leads_to
from dfedge.install.hookunit import hook_files
from dfedge.install.install import install
from dfedge.install.place import Place
from dfedge.install.uninstall import uninstall
from dfedge.install.version import digest_of, linked

PYTHON: Final = Path(sys.executable)


def whole(place: Place) -> bool:
    """Whether systemd would take requests at its next start; then all that serves them must be whole."""
    texts = hook_files(place, PYTHON)
    if place.hook_unit.exists():
        assert (place.folder / "hook.py").read_text() == texts[place.folder / "hook.py"]
    if place.hook_socket_unit.exists():
        assert place.hook_unit.exists()
    if not os.path.lexists(place.hook_wants):
        return False
    assert leads_to(place.hook_wants, str(place.inside(place.hook_socket_unit)))
    for path, text in texts.items():
        assert path.read_text() == text
    return True


def runs_on(place: Place) -> bool:
    """Whether the agent's unit leads to version 1.0, and that is whole; no trial is under way that could change it."""
    found = linked(place.folder, guard.CURRENT)
    assert found is not None
    assert digest_of(found.file)[:16] == found.id
    return found.number == "1.0" and guard.read_trial(place.folder) is None


def add_hooks(place: Place, judge: Any, pyz: Path) -> None:
    install(place, pyz, PYTHON, judge, hooks=True, proof=lambda *_: None)


@pytest.fixture
def running(place: Place, judge: Any, system: FakeSystem, pyz: Any) -> FakeSystem:
    """Version 1.0 is installed without hooks, and runs."""
    install(place, pyz("1.0"), PYTHON, judge, proof=lambda *_: None)
    system.restart()
    return system


@pytest.mark.parametrize("afresh", [True, False])
def test_killed_anywhere_while_hooks_are_added_the_agent_runs_and_the_next_install_completes_them(
    place: Place, judge: Any, running: FakeSystem, pyz: Any, afresh: bool
) -> None:
    new, step = pyz("1.0"), 0
    while killed_at(step := step + 1, lambda: add_hooks(place, judge, new)):
        assert runs_on(place)
        whole(place)
        if afresh:
            add_hooks(place, judge, new)
            assert whole(place)
            assert running.listens
            assert not running.stale
            uninstall(place, running, purge=False, dry_run=False)
            assert not list(place.root.rglob("*hook*"))
            install(place, new, PYTHON, judge, proof=lambda *_: None)
            running.state = "active"
    assert step > 10
    assert whole(place)
    assert running.listens
    assert not running.stale
    assert not list(place.units.rglob(".*"))


def test_killed_anywhere_in_an_install_of_a_new_version_with_hooks_a_whole_one_runs(
    place: Place, judge: Any, running: FakeSystem, pyz: Any
) -> None:
    old, new, step = pyz("1.0"), pyz("2.0"), 0
    add_hooks(place, judge, old)
    while killed_at(step := step + 1, lambda: add_hooks(place, judge, new)):
        assert starts(place) in ("1.0", "2.0")
        assert whole(place)
        add_hooks(place, judge, old)
        running.state = "active"
    assert step > 20
    assert starts(place) == "2.0"


@pytest.mark.parametrize("purge", [False, True])
def test_killed_anywhere_in_an_uninstall_no_unit_leads_to_nothing_and_the_next_one_completes_it(
    place: Place, judge: Any, running: FakeSystem, pyz: Any, purge: bool
) -> None:
    new, step = pyz("1.0"), 0
    add_hooks(place, judge, new)
    while killed_at(step := step + 1, lambda: uninstall(place, running, purge=purge, dry_run=False)):
        whole(place)
        if os.path.lexists(place.wants):
            assert place.unit.exists()
        if place.unit.exists():
            assert runs_on(place)
        if step % 3 == 0:  # from the start again, else from where it was left
            add_hooks(place, judge, new)
            assert whole(place)
    assert step > 10
    assert linked(place.folder, guard.CURRENT) is None
    assert not list(place.root.rglob("*hook*"))
    assert not running.listens
    assert not running.stale


def test_a_draft_that_a_killed_install_left_goes_with_the_uninstall(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge, proof=lambda *_: None)
    draft = place.hook_socket_unit.with_name(f".{place.hook_socket_unit.name}.new")
    subprocess.run(["touch", draft], check=True)
    uninstall(place, judge.system, purge=False, dry_run=False)
    assert not draft.exists()
