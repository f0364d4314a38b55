"""What runs as root before each start does nothing for whoever owns the state but what it must."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from host import names

from dfedge.install import guard
from dfedge.install.install import install, update
from dfedge.install.place import Place
from dfedge.install.version import linked

NOBODY = 65534
PYTHON = Path(sys.executable)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_joined_becomes_the_owners_and_nothing_else_does(tmp_path: Path) -> None:
    state, mine = tmp_path / "state", tmp_path / "shadow"
    (state / "node").mkdir(parents=True)
    (state / "blobs").mkdir()
    mine.write_text("root's own")
    (state / "node" / "node_key").write_text("key")
    (state / "blobs" / "x").write_text("not of join")
    (state / "node" / "soft").symlink_to(mine)
    (state / "node" / "hard").hardlink_to(mine)
    (state / "trust").symlink_to(tmp_path)
    os.mkfifo(state / "node" / "pipe")
    os.chown(state, NOBODY, NOBODY)
    guard.hand_over(state)
    owned = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.lstat().st_uid == NOBODY}
    assert owned == {"state", "state/node", "state/node/node_key"}


@pytest.mark.parametrize("text", ["", "\0", "../../etc x\n", f"{'a' * 16} {'g' * 16}\n", "a" * 100_000])
def test_a_mark_that_is_not_ours_is_no_trial(tmp_path: Path, text: str) -> None:
    (tmp_path / guard.TRIAL).write_text(text)
    assert guard.go_back(tmp_path) == ""
    assert not (tmp_path / guard.CURRENT).is_symlink()


def test_it_never_leads_to_a_version_that_is_not_there(tmp_path: Path) -> None:
    guard.repoint(tmp_path, guard.CURRENT, "b" * 16)
    (tmp_path / guard.TRIAL).write_text(f"{'b' * 16} {'a' * 16}\n")
    guard.go_back(tmp_path)
    assert str((tmp_path / guard.CURRENT).readlink()) == "b" * 16
    assert guard.read_trial(tmp_path) is None


def test_a_full_disk_changes_nothing(place: Place, judge: Any, pyz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(place, pyz("1.0"), PYTHON, judge)
    before = sorted(place.folder.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            update(place, pyz("2.0"), judge, python=PYTHON)
    found = linked(place.folder, guard.CURRENT)
    assert found is not None and found.number == "1.0"
    assert (names(place), sorted(place.folder.iterdir())) == (["1.0"], before)
