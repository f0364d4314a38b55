"""A get within 96 MiB of memory, page cache included, as the kernel counts. Needs root and the memory cgroup (v1)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet import Fleet, until

from faults.row import MIB, Row, crash, fetch, resident, seeded

SIZE = 64 * MIB
LIMIT = 96 * MIB
CGROUPS = Path("/sys/fs/cgroup/memory")


@contextmanager
def limited(nbytes: int) -> Iterator[Path]:
    """A group of processes that may take so much memory in all; what is beyond it is killed."""
    group = CGROUPS / f"dfedge-faults-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(nbytes), encoding="ascii")
        yield group
    finally:
        group.rmdir()


def measure(folder: Path) -> Row:
    """Fetch at a node that has no more."""
    with limited(LIMIT) as group:
        fleet = Fleet(folder)
        try:
            return _measure(fleet, group, folder)
        finally:
            fleet.stop()


def _measure(fleet: Fleet, group: Path, folder: Path) -> Row:
    seed, board = fleet.board("seed"), fleet.board("board")
    seed.start()
    seeded(seed, folder, SIZE)
    _enter(group)  # what we start is in it from its first page on
    try:
        board.start()
    finally:
        _enter(CGROUPS)
    until(lambda: "board" in seed.connected(), "the two to be connected")
    seconds = fetch(board, folder)
    assert board.process is not None
    alive = board.process.poll() is None
    most = int((group / "memory.max_usage_in_bytes").read_text(encoding="ascii"))
    return Row(
        "an agent in a cgroup of 96 MiB fetches 64 MiB",
        "completes; it is not killed",
        f"complete after {seconds:.1f} s; {resident(board.process.pid) / MIB:.1f} MiB resident, with its page cache at"
        f" most {most / MIB:.1f} MiB{crash(board.said)}",
        alive and most <= LIMIT and not crash(board.said),
    )


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
