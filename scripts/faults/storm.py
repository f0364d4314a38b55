"""Strangers by the thousand at the port of a node that serves a transfer."""

import subprocess
import sys
import threading
import time
from pathlib import Path

from fleet import Fleet, until

from faults.row import MIB, Row, descriptors, fetch, resident, seeded

SIZE = 60 * MIB  # 5 s at 100 Mbit/s


def measure(folder: Path) -> Row:
    """Fetch in quiet and in the storm, and let a new node join during it."""
    fleet = Fleet(folder)
    try:
        return _measure(fleet, folder)
    finally:
        fleet.stop()


def _measure(fleet: Fleet, folder: Path) -> Row:
    seed, board, good = (fleet.board(name) for name in ("seed", "board", "good"))
    seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "12 MB/s"
    for each in (seed, board):
        each.start()
    seeded(seed, folder, SIZE)
    until(lambda: "board" in seed.connected(), "the two to be connected")
    quiet = fetch(board, folder)
    assert seed.process is not None
    pid = seed.process.pid
    fds, rss = descriptors(pid), resident(pid)
    most = [0, 0]
    ended = threading.Event()
    storm = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("stranger.py")), str(seed.port), "60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def watch() -> None:
        while not ended.wait(0.1):
            most[:] = max(most[0], descriptors(pid) - fds), max(most[1], resident(pid) - rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until(lambda: most[0] > 8, "the storm to break")
        stormy = fetch(board, folder)
        started = time.monotonic()
        good.start()
        until(lambda: "good" in seed.connected(), "a good node to join during the storm", 50)
        joined = time.monotonic() - started
        still = storm.poll() is None
    finally:
        ended.set()
        watcher.join()
        storm.kill()
        storm.wait()
    ratio = stormy / quiet
    return Row(
        "1,000 connections from 1,000 addresses without a certificate (200 with 255 KiB of an unfinished packet, a"
        " third garbage, the rest silent), 300 opened anew each second, while 60 MiB are fetched at 12 MB/s",
        "≤ 1.3 × the quiet time, RSS +≤ 32 MiB, descriptors +≤ 64, a new node joins",
        f"{ratio:.2f} × ({quiet:.1f} s → {stormy:.1f} s), RSS +{most[1] / MIB:.1f} MiB, descriptors +{most[0]},"
        f" a new node joined {joined:.1f} s after its start",
        ratio <= 1.3 and most[0] <= 64 and most[1] <= 32 * MIB and still and "Traceback" not in seed.said,
    )
