"""Nodes that do not exist, announced by the thousand while an image is fetched. Needs root."""

import subprocess
import sys
import threading
from pathlib import Path

import lab
from fleet import Fleet, until
from lab.command import batch

from faults.row import MIB, Row, crash, fetch, resident, seeded

SIZE = 64 * MIB
COUNT = 20_000
PER_S = 2_500
ROSTER = 4096


def measure(folder: Path) -> Row:
    """Fetch in quiet, then while a third host lies."""
    with lab.Lan("fakes", 3, 100) as lan:
        fleet = Fleet(folder, lan)
        try:
            return _measure(fleet, lan, folder)
        finally:
            fleet.stop()


def _measure(fleet: Fleet, lan: lab.Lan, folder: Path) -> Row:
    seed, board = fleet.board("seed"), fleet.board("board")
    for each in (seed, board):
        each.start()
    seeded(seed, folder, SIZE)
    until(lambda: "board" in seed.connected(), "the two to be connected")
    quiet = fetch(board, folder)
    assert board.process is not None
    pid = _agent(board.process.pid)
    rss, most = resident(pid), 0
    prefix = lan.address(2).rpartition(".")[0]
    batch("ip", [f"addr add {prefix}.{host}/24 dev eth0" for host in range(150, 250)], lan.namespace(2))
    liar = [sys.executable, str(Path(__file__).with_name("liar.py")), lan.address(2), seed.ask("status")["fleet"][:8]]
    lying = lan.popen(2, [*liar, str(COUNT), str(PER_S)], stdout=subprocess.PIPE)
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.1):
            most = max(most, resident(pid) - rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until(lambda: len(board.ask("peers")["peers"]) > 100, "the lies to be heard")
        noisy = fetch(board, folder)
        out, _ = lying.communicate(timeout=120)
    finally:
        ended.set()
        watcher.join()
    sent, dials, busiest = (int(word) for word in out.split())
    known = len(board.ask("peers")["peers"])
    ratio = noisy / quiet
    return Row(
        f"{sent:,} instances announced, {PER_S:,} a second, each with an id of its own, at 100 addresses that answer"
        " and stay silent, while 64 MiB are fetched at 100 Mbit/s",
        "≤ 1.2 × the quiet time, RSS +≤ 24 MiB, ≤ 4 dials/s to unproven addresses by each node, roster ≤ 4,096",
        f"{ratio:.2f} × ({quiet:.1f} s → {noisy:.1f} s), RSS +{most / MIB:.1f} MiB, {dials} dials by two nodes,"
        f" at most {busiest} in a second, roster {known:,}{crash(board.said)}",
        ratio <= 1.2 and most <= 24 * MIB and busiest <= 2 * 4 + 1 and known <= ROSTER + 2
        and not crash(board.said),
    )  # fmt: skip


def _agent(pid: int) -> int:
    """The agent itself: what enters the namespace for it may be a process of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else pid
