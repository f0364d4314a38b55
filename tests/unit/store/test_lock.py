"""One agent per state folder, and a folder that is ours alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfedge.core.errors import Busy, Refused
from dfedge.store.lock import StateLock

from .conftest import OpenStore

HOLD = """
import sys
from pathlib import Path
from dfedge.store.lock import StateLock
lock = StateLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_agent_is_refused_with_the_pid_of_the_first_until_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"^{tmp_path}: an agent with pid {first.pid} already runs on this state dir$"):
            StateLock.acquire(path)
        first.kill()
        first.wait()
    assert path.read_text() == f"{first.pid}\n"
    StateLock.acquire(path).release()


def test_a_store_is_opened_once_and_again_after_its_end(open_store: OpenStore, state: Path) -> None:
    store = open_store()
    with pytest.raises(Busy, match=f"pid {os.getpid()}"):
        type(store).open(state, None, 0, lambda: 0.0)
    open_store()


def test_a_state_folder_that_is_a_link_is_refused(open_store: OpenStore, state: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    state.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is a link to"):
        open_store()


def test_a_folder_inside_that_is_a_link_is_refused(open_store: OpenStore, state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "blobs").symlink_to(tmp_path)
    with pytest.raises(Refused, match="is a link to"):
        open_store()


def test_a_state_folder_that_others_may_write_to_is_refused(open_store: OpenStore, state: Path) -> None:
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(Refused, match=r"others may write to it \(mode 0777\)"):
        open_store()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_somebody_else_is_refused(open_store: OpenStore, state: Path) -> None:
    state.mkdir(mode=0o700)
    os.chown(state, 12345, 12345)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        open_store()


def test_a_state_folder_that_is_a_file_is_refused(open_store: OpenStore, state: Path) -> None:
    state.write_bytes(b"")
    with pytest.raises(Refused, match="can't be made a folder"):
        open_store()


def test_nobody_else_can_look_into_the_store(open_store: OpenStore, state: Path) -> None:
    open_store()
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "index.sqlite3").stat().st_mode & 0o777 == 0o600
    assert (state / "lock").stat().st_mode & 0o777 == 0o600
