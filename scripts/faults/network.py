"""Networks that fail and heal while an image is fetched. Needs root."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lab
from fleet import Board, Fleet, until

from faults.row import MIB, Measure, Row, held_bytes, seeded

SIZE = 48 * MIB  # 10 s at 40 Mbit/s
RATE = 40.0
NODES = 3
HEAL_S = 15.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`inject` returns once it has healed; a LAN that is bad all the time has none."""

    what: str
    inject: Callable[["Scene"], None] | None = None
    mtu: int = 1500
    ipv6_only: bool = False
    loss: int = 0  # of a thousand frames


@dataclass(frozen=True, slots=True)
class Scene:
    """A seed (0), and two nodes that fetch from it and from each other."""

    lan: lab.Lan
    boards: list[Board]


def _partition(scene: Scene) -> None:
    scene.lan.partition([0], [1, 2])
    time.sleep(60)
    scene.lan.heal()


def _flaps(scene: Scene) -> None:
    for _ in range(20):
        scene.lan.link_down(1)
        time.sleep(0.5)
        scene.lan.link_up(1)
        time.sleep(1.0)


def _hang(scene: Scene) -> None:
    process = scene.boards[0].process
    assert process is not None
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(30)
    os.killpg(process.pid, signal.SIGCONT)


FAULTS = {
    "partition": Fault("the seed cut off from both for 60 s", _partition),
    "flaps": Fault("20 flaps of a fetching node's link, half a second each", _flaps),
    "hung": Fault("the seed stopped (SIGSTOP) for 30 s", _hang),
    "mtu": Fault("an MTU of 1,280", mtu=1280),
    "link-local": Fault("link-local IPv6 alone", ipv6_only=True),
    "loss": Fault("1 % of all frames lost", loss=10),
}


def measure(name: str) -> Measure:
    """The measure of one of FAULTS."""
    return lambda folder: _measure(name, FAULTS[name], folder)


def _measure(name: str, fault: Fault, folder: Path) -> Row:
    with lab.Lan(name[:4], NODES, RATE, mtu=fault.mtu, ipv6_only=fault.ipv6_only) as lan:
        fleet = Fleet(folder, lan)
        try:
            return _fetch(Scene(lan, [fleet.board() for _ in range(NODES)]), fault, folder)
        finally:
            fleet.stop()


def _fetch(scene: Scene, fault: Fault, folder: Path) -> Row:
    boards = scene.boards
    for board in boards:
        board.start()
    seeded(boards[0], folder, SIZE)
    until(lambda: all(len(board.connected()) == NODES - 1 for board in boards), "all to be connected", 60)
    if fault.loss:
        scene.lan.loss(fault.loss)
    started = time.monotonic()
    gets = [
        board.popen(["get", "image:1", "-o", str(folder / board.name), "--timeout", "300s"], -3, subprocess.PIPE)
        for board in boards[1:]
    ]
    moved = 0.0
    if fault.inject is not None:
        until(lambda: min(held_bytes(board) for board in boards[1:]) > SIZE // 8, "an eighth to be here", 60)
        fault.inject(scene)
        healed = time.monotonic()
        before = [held_bytes(board) for board in boards[1:]]
        until(lambda: all(_moved(board, held) for board, held in zip(boards[1:], before, strict=True)), "moves", 90)
        moved = time.monotonic() - healed
    errors = [get.communicate(timeout=300)[1][-300:] for get in gets]
    seconds = time.monotonic() - started
    whole = all(
        get.returncode == 0 and (folder / board.name).read_bytes() == (folder / "image").read_bytes()
        for get, board in zip(gets, boards[1:], strict=True)
    )
    waited = max(map(_overdue, boards))
    calm = all("Traceback" not in board.said and "banned peer" not in board.said for board in boards)
    found = f"both complete after {seconds:.1f} s" if whole else f"not complete: {errors}"
    return Row(
        f"{fault.what}, while two nodes fetch 48 MiB at 40 Mbit/s",
        "completes; nobody is banned; no piece waits over 2 × its deadline"
        + ("; within 15 s of the heal it moves again" if fault.inject else ""),
        found
        + f"; the longest wait {waited:.2f} × its deadline"
        + (f", moved again {moved:.1f} s after the heal" if fault.inject else ""),
        whole and calm and moved <= HEAL_S and waited <= 2.0,
    )


def _overdue(board: Board) -> float:
    """The longest that a silent peer was waited for until its pieces were given to others, in terms of its deadline."""
    waits = re.findall(r"sent no byte for ([\d.]+) s, the most is ([\d.]+) s", board.said)
    return max((float(waited) / float(most) for waited, most in waits), default=0.0)


def _moved(board: Board, before: int) -> bool:
    return held_bytes(board) > before or before == SIZE
