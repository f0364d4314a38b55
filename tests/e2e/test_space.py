"""Agents on disks that fill up, run out of inodes, or wear: what a user sees, and what reaches the device."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from disk import MIB, OLD_EXT, XFS, device_writes, fill, loop_disk, memory_disk
from fleet import Fleet, until


class Pair:
    """A seed, and a board whose state is on a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder)
        self.seed, self.board = self.fleet.board(), self.fleet.board()
        self.board.settings["DFEDGE_STORE_KEEP_FREE"] = "4 MiB"

    def move(self, disk: Path) -> None:
        """Put the board's state on that disk."""
        shutil.move(self.board.state, disk / "state")
        self.board.state = disk / "state"

    def start(self) -> None:
        for board in (self.seed, self.board):
            board.start()
        until(lambda: "node-1" in self.seed.connected(), "node-1 to connect")

    def publish(self, name: str, mib: int) -> None:
        source = self.folder / name
        source.write_bytes(os.urandom(mib * MIB))
        self.seed.ask("publish", str(source), "--name", name, "--version", "1")

    def shown(self) -> list[str]:
        return [row["name"] for row in self.board.ask("ls")["images"]]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        yield made
    finally:
        made.fleet.stop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is mounted for a test; agents are ended before it goes."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def boards(stack: ExitStack, pair: Pair) -> Pair:
    """In this order, so that no agent is left on a disk that is to be unmounted."""
    return pair


def test_another_program_that_fills_the_disk_gets_it_and_everybody_hears_what_is_gone(
    stack: ExitStack, boards: Pair, tmp_path: Path
) -> None:
    disk = stack.enter_context(memory_disk(tmp_path / "mnt", "size=32m"))
    boards.move(disk)
    boards.board.settings["DFEDGE_STORE_KEEP_FREE"] = "9 MiB"
    boards.start()
    for name in ("old", "kept"):
        boards.publish(name, 4)
        boards.board.ask("get", name)
    boards.board.ask("pin", "kept")
    filler = fill(disk)
    until(lambda: boards.shown() == ["kept"], "all but the pinned image to be given back")
    status = boards.board.ask("status")
    assert status["store"]["evicted"]["last"] == "old:1"
    assert "9.0 MiB is to stay free; nothing more can be evicted: kept:1 is pinned" in status["degraded"]
    assert "evicted image=old:1" in boards.board.said and "disk full" in boards.board.said
    until(
        lambda: [row["name"] for row in boards.seed.ask("where", "old")["nodes"]] == ["node-0"],
        "the seed to hear that it is gone",
    )
    refused = boards.board.run("get", "old")
    assert refused.returncode == 1 and "[no_space]" in refused.stderr and "old:1 needs 4.0 MiB" in refused.stderr
    assert "must be freed on this disk" in refused.stderr
    filler.unlink()
    until(lambda: boards.board.ask("status")["degraded"] is None, "the node to be well again")
    boards.board.ask("get", "old")


def test_a_get_into_a_disk_that_fills_meanwhile_ends_keeps_what_is_proven_and_goes_on_later(
    stack: ExitStack, boards: Pair, tmp_path: Path
) -> None:
    disk = stack.enter_context(loop_disk(tmp_path / "mnt", 48, OLD_EXT))
    boards.move(disk)
    boards.seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "3 MB/s"
    boards.start()
    boards.publish("image", 16)

    def have() -> int:
        return sum(row["have_bytes"] for row in boards.board.ask("ls")["images"])

    getting = boards.board.popen(["get", "image"], subprocess.PIPE, subprocess.PIPE)
    until(lambda: have() > 2 * MIB, "some of it to come")
    boards.board.ask("pin", "image:1")  # else what is here goes for the other program, once nobody fetches it
    filler = fill(disk, leave=MIB)
    _, said = getting.communicate(timeout=30)
    assert getting.returncode == 1 and "[no_space]" in said
    kept = have()
    assert 2 * MIB < kept < 16 * MIB
    assert boards.board.run("get", "image").returncode == 1
    filler.unlink()
    boards.seed.settings.pop("DFEDGE_THROTTLE_MAX_UP")
    boards.seed.stop()
    boards.seed.start()
    until(lambda: "node-1" in boards.seed.connected(), "node-1 to connect")
    result = boards.board.ask("get", "image", "-o", str(tmp_path / "out"))
    assert result["bytes_reused"] >= kept and result["bytes_fetched"] <= 16 * MIB - kept
    assert (tmp_path / "out").read_bytes() == (tmp_path / "image").read_bytes()
    until(lambda: boards.board.ask("status")["degraded"] is None, "the node to find its disk well")
    assert "Traceback" not in boards.board.said


def test_an_image_fetched_a_moment_ago_makes_room_for_the_next(boards: Pair) -> None:
    boards.board.settings["DFEDGE_STORE_QUOTA"] = "6 MiB"
    boards.start()
    for name in ("first", "second"):
        boards.publish(name, 4)
        boards.board.ask("get", name)
    assert boards.shown() == ["second"]
    assert "evicted image=first:1" in boards.board.said


@pytest.mark.parametrize("kind", [pytest.param(("ext4",), id="ext4"), pytest.param(OLD_EXT, id="can't preallocate")])
def test_an_image_is_written_once_to_a_card_that_wears(
    stack: ExitStack, boards: Pair, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    disk = stack.enter_context(loop_disk(tmp_path / "mnt", 128, kind))
    boards.move(disk)
    boards.start()
    boards.publish("image", 32)
    before = device_writes(disk)
    boards.board.ask("get", "image")
    written = device_writes(disk) - before
    assert 32 * MIB <= written <= 1.1 * 32 * MIB, f"{written / (32 * MIB):.3f} bytes for each"


def test_an_output_on_a_disk_that_shares_blocks_is_no_second_copy(
    stack: ExitStack, boards: Pair, tmp_path: Path
) -> None:
    disk = stack.enter_context(loop_disk(tmp_path / "mnt", 320, XFS))
    boards.move(disk)
    boards.start()
    boards.publish("image", 32)
    before = device_writes(disk)
    boards.board.ask("get", "image", "-o", str(disk / "out"))
    written = device_writes(disk) - before
    assert 32 * MIB <= written <= 1.1 * 32 * MIB, f"{written / (32 * MIB):.3f} bytes for each"
    filler = fill(disk, leave=16 * MIB)  # less than another copy would take
    boards.board.ask("get", "image", "-o", str(disk / "again"))
    assert (disk / "again").read_bytes() == (tmp_path / "image").read_bytes()
    filler.unlink()


@pytest.mark.long
def test_an_idle_agent_writes_nothing(stack: ExitStack, boards: Pair, tmp_path: Path) -> None:
    disk = stack.enter_context(loop_disk(tmp_path / "mnt", 64))
    boards.move(disk)
    boards.start()
    boards.publish("image", 4)
    boards.board.ask("get", "image")
    boards.board.stop()
    boards.board.start()
    until(lambda: "node-1" in boards.seed.connected(), "node-1 to connect")
    time.sleep(8)  # what a start settles is settled by then
    process = boards.board.process
    assert process is not None
    log, device, counted = len(boards.board.said), device_writes(disk), _write_bytes(process.pid)
    calls = subprocess.run(
        ["timeout", "-s", "INT", "30", "strace", "-f", "-qq", "-y", "-e", f"trace={WRITING}", "-p", str(process.pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    lines = calls.splitlines()
    assert any("statfs(" in line for line in lines), (
        f"strace saw nothing, not even our looks at the free space: {calls}"
    )
    assert not [line for line in lines if not any(kind in line for kind in NO_DISK)]
    assert (len(boards.board.said), device_writes(disk), _write_bytes(process.pid)) == (log, device, counted)


WRITING = (
    "pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,sync_file_range,fallocate,ftruncate,rename,renameat2,"
    "unlink,unlinkat,mkdir,link,symlink,utimensat,chmod,fchmod,copy_file_range,sendfile,msync,statfs"
)
NO_DISK = ("statfs(", "<socket:", "<TCP", "<UNIX", "<pipe:", "<anon_inode:")


def _write_bytes(pid: int) -> int:
    """Bytes that a process has caused to be written to a disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])
