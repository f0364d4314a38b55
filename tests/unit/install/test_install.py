"""Installing: all that is missing and no more; what does not work never comes into the place of what does."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from host import names

from dfedge.core.errors import Busy, Corrupt, Refused, TimedOut
from dfedge.install import guard, hook, proof
from dfedge.install.install import install, update
from dfedge.install.place import Place
from dfedge.install.proof import prove
from dfedge.install.report import report
from dfedge.install.uninstall import uninstall
from dfedge.install.unit import python_of, unit_text
from dfedge.install.version import FILE, alone, linked, put

PYTHON = Path(sys.executable)


def test_an_install_is_whole_and_a_second_one_finds_nothing_missing(place: Place, judge: Any, pyz: Any) -> None:
    done = install(place, pyz("1.0"), PYTHON, judge)
    current = linked(place.folder, guard.CURRENT)
    assert current is not None
    assert (current.number, current.file.stat().st_mode & 0o777) == ("1.0", 0o755)
    assert place.program.resolve() == current.file
    assert place.wants.is_symlink()
    assert str(place.wants.readlink()) == "/etc/systemd/system/dfedge.service"
    assert f"ExecStart={PYTHON} -I /usr/local/lib/dfedge/current/dfedge.pyz agent" in place.unit.read_text()
    assert python_of(place) == PYTHON
    assert done.steps
    before = {path: path.lstat().st_mtime_ns for path in place.root.rglob("*")}
    assert not install(place, pyz("1.0"), PYTHON, judge).steps
    del before[place.folder]  # the lock is opened
    assert before.items() <= {path: path.lstat().st_mtime_ns for path in place.root.rglob("*")}.items()


def test_a_dry_run_says_the_same_and_writes_nothing(place: Place, judge: Any, pyz: Any) -> None:
    would = install(place, pyz("1.0"), PYTHON, judge, dry_run=True)
    assert not place.folder.exists()
    assert not place.unit.exists()
    assert would.steps == install(place, pyz("1.0"), PYTHON, judge).steps


@pytest.mark.parametrize("missing", ["unit", "wants", "program", "guard"])
def test_what_is_missing_is_made_again(place: Place, judge: Any, pyz: Any, missing: str) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    path = {"unit": place.unit, "wants": place.wants, "program": place.program, "guard": place.folder / "guard.py"}
    path[missing].unlink()
    steps = install(place, pyz("1.0"), PYTHON, judge).steps
    assert path[missing].exists() or path[missing].is_symlink()
    assert 1 <= len(steps) <= 2


def test_a_version_that_rotted_is_put_there_anew(place: Place, judge: Any, pyz: Any) -> None:
    file = install(place, pyz("1.0"), PYTHON, judge).version.file
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    install(place, pyz("1.0"), PYTHON, judge)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("selftest", ["sys.exit('fail  imports  no module named cffi')", "raise OSError(7, 'x')"])
def test_what_fails_its_selftest_changes_nothing(place: Place, judge: Any, pyz: Any, selftest: str) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    with pytest.raises(Refused, match=r"2\.0 .*does not work on this host: .*nothing was changed"):
        update(place, pyz("2.0", selftest), judge, python=PYTHON)
    current = linked(place.folder, guard.CURRENT)
    assert current is not None and current.number == "1.0"
    assert names(place) == ["1.0"]


def test_a_selftest_that_hangs_is_ended(place: Place, judge: Any, pyz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LIMIT_S", 0.5)
    place.folder.mkdir(parents=True)
    version = put(place.folder, pyz("1.0", "time.sleep(60)"))
    with pytest.raises(TimedOut, match=r"did not end in 0\.5 s"):
        prove(place, version, PYTHON, 0.5)


def test_a_file_cut_short_or_of_another_kind_is_refused(place: Place, judge: Any, pyz: Any, tmp_path: Path) -> None:
    whole = pyz("1.0")
    cut = tmp_path / "cut.pyz"
    cut.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(Corrupt, match="cut short"):
        install(place, cut, PYTHON, judge)
    with pytest.raises(Corrupt, match="its SHA-256 is"):
        install(place, whole, PYTHON, judge, expected="0" * 64)
    assert linked(place.folder, guard.CURRENT) is None
    assert not list(place.folder.glob("*/*"))


def test_a_full_disk_is_named_and_leaves_the_version_that_runs_alone(
    place: Place, judge: Any, pyz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    before = sorted(place.root.rglob("*"))
    newer = pyz("2.0")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            install(place, newer, PYTHON, judge)
    assert caught.value.filename == str(place.folder)
    assert sorted(place.root.rglob("*")) == before


def test_a_program_of_that_name_which_is_not_ours_stays(place: Place, judge: Any, pyz: Any) -> None:
    place.program.parent.mkdir(parents=True)
    place.program.write_text("mine")
    done = install(place, pyz("1.0"), PYTHON, judge)
    assert any("stays" in note for note in done.notes)
    uninstall(place, judge.system, purge=True, dry_run=False)
    assert place.program.read_text() == "mine"


def test_two_at_once_do_not_meet(place: Place, judge: Any, pyz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfedge.install.version.LOCK_WAIT_S", 0.2)
    with alone(place.folder), pytest.raises(Busy):
        install(place, pyz("1.0"), PYTHON, judge)


def test_uninstall_leaves_the_state_and_purge_does_not(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    would = uninstall(place, judge.system, purge=False, dry_run=True)
    assert place.unit.exists()
    assert uninstall(place, judge.system, purge=False, dry_run=False) == would
    left = sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*") if not path.is_dir())
    assert not left
    assert place.joined
    uninstall(place, judge.system, purge=True, dry_run=False)
    assert not place.state.exists()
    assert not uninstall(place, judge.system, purge=True, dry_run=False)


def test_a_report_names_both_versions(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    update(place, pyz("2.0"), judge, python=PYTHON)
    found = report(place, judge)
    assert found.installed is not None and found.previous is not None
    assert (found.installed.number, found.previous.number, found.unit, found.enabled) == ("2.0", "1.0", True, True)


def test_a_users_own_unit_asks_for_nothing_that_only_root_can_do(tmp_path: Path) -> None:
    text = unit_text(Place.of_user(tmp_path, {}))
    assert f"ExecStart=/usr/bin/python3 -I {tmp_path}/.local/lib/dfedge/current/dfedge.pyz agent" in text
    assert "User=" not in text
    assert "WantedBy=default.target" in text
    assert "=-+" not in text


def test_the_copy_of_the_guard_runs_alone(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    command: list[str | Path] = [PYTHON, "-I", place.folder / "guard.py", place.state]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (place.folder / "guard.py").read_bytes() == Path(guard.__file__).read_bytes()
    assert FILE in (place.folder / "guard.py").read_text()


def test_nothing_runs_as_root_unless_it_was_asked_for(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    assert not list(place.root.rglob("*hook*"))
    assert not report(place, judge).hooks
    assert not [text for text in judge.system.said if "listen" in text]


def test_hooks_are_installed_kept_by_a_later_install_and_removed(place: Place, judge: Any, pyz: Any) -> None:
    done = install(place, pyz("1.0"), PYTHON, judge, hooks=True)
    assert "take requests for hooks" in done.steps
    assert place.hook_wants.is_symlink()
    assert f"ExecStart={PYTHON} -I /usr/local/lib/dfedge/hook.py /etc/dfedge/hooks\n" in place.hook_unit.read_text()
    assert (place.folder / "hook.py").read_bytes() == Path(hook.__file__).read_bytes()
    assert report(place, judge).hooks
    assert not install(place, pyz("1.0"), PYTHON, judge, hooks=True).steps
    place.hook_unit.write_text("of an older version\n")
    assert f"write {place.hook_unit}" in install(place, pyz("1.0"), PYTHON, judge).steps
    uninstall(place, judge.system, purge=False, dry_run=False)
    assert "stop listening" in judge.system.said
    assert not list(place.root.rglob("*hook*"))


def test_a_socket_that_the_operator_disabled_stays_so(place: Place, judge: Any, pyz: Any) -> None:
    install(place, pyz("1.0"), PYTHON, judge, hooks=True)
    place.hook_wants.unlink()
    assert not install(place, pyz("1.0"), PYTHON, judge).steps
    assert not place.hook_wants.is_symlink()
