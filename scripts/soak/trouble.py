"""What befalls the fleet of a soak. Each takes some seconds, and is over when it returns."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import lab
from faults import stranger
from faults.rot import flip_blocks
from fleet import Board
from lab.command import batch

ROTTEN = 0.05  # of the blocks of a file
VILLAINS = 8  # identities of malformed peers; each is banned for an hour by whom it annoyed


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens. `immortal` nodes are never killed: what grows in them grew over the whole run."""

    lan: lab.Lan
    boards: list[Board]
    villains: list[Board]
    immortal: int
    small: int  # the node whose disk is small, and full at times
    rng: random.Random
    told: list[str] = field(default_factory=list)

    def anyone(self) -> Board:
        return self.rng.choice(self.boards)

    def seconds(self, least: float, most: float) -> None:
        """Let it last."""
        time.sleep(self.rng.uniform(least, most))


def kill(stage: Stage) -> None:
    """SIGKILL, and a start after a while."""
    board = stage.rng.choice(stage.boards[stage.immortal :])
    process = board.process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stage.seconds(1, 5)
    board.start()


def stop(stage: Stage) -> None:
    """SIGSTOP for up to 25 s."""
    process = stage.anyone().process
    assert process is not None
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        stage.seconds(5, 25)
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def partition(stage: Stage) -> None:
    """Two halves that do not hear each other."""
    nodes = list(range(len(stage.boards)))
    stage.rng.shuffle(nodes)
    half = stage.rng.randint(1, len(nodes) - 1)
    stage.lan.partition(nodes[:half], nodes[half:])
    try:
        stage.seconds(10, 40)
    finally:
        stage.lan.heal()


def flaps(stage: Stage) -> None:
    """A link that goes down and up six times."""
    node = stage.rng.randrange(len(stage.boards))
    for _ in range(6):
        stage.lan.link_down(node)
        stage.seconds(0.3, 1.0)
        stage.lan.link_up(node)
        stage.seconds(0.5, 2.0)


def rot(stage: Stage) -> None:
    """A bit flipped in 5 % of the blocks of a file that a node holds."""
    folder = stage.anyone().state / "blobs" / "sha256"
    with suppress(FileNotFoundError):  # it may be removed just now
        held = sorted(folder.iterdir())
        if held:
            flip_blocks(stage.rng.choice(held), ROTTEN, stage.rng)


def full(stage: Stage) -> None:
    """Another program fills the small disk."""
    filler = stage.boards[stage.small].state.parent / "filler"
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        stage.seconds(8, 20)
    finally:
        filler.unlink()


def strangers(stage: Stage) -> None:
    """1,000 connections without a certificate: silent ones, unfinished ones, garbage."""
    node = stage.rng.randrange(len(stage.boards))
    storm = [sys.executable, str(Path(stranger.__file__)), str(stage.boards[node].port), "10"]
    stage.lan.run(node, storm, timeout=90)


def malformed(stage: Stage) -> None:
    """A neighbour with a good certificate that throws mutated frames until it is thrown out."""
    node = stage.rng.randrange(len(stage.boards))
    villain = stage.rng.choice(stage.villains)
    argv = [str(stage.boards[node].state), str(villain.state), str(stage.rng.getrandbits(32))]
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = stage.lan.run(node, [sys.executable, "-m", "soak.villain", *argv], environ, timeout=120)
    except subprocess.TimeoutExpired:
        stage.told.append("villain: still there after 120 s")
        return
    if done.returncode:
        stage.told.append(f"villain: {done.stderr[-500:]}")


def mtu(stage: Stage) -> None:
    """A node that takes no frames over 1,280 bytes all at once: a black hole for sessions that are open."""
    namespace = stage.lan.namespace(stage.rng.randrange(len(stage.boards)))
    batch("ip", ["link set eth0 mtu 1280"], namespace)
    try:
        stage.seconds(8, 20)
    finally:
        batch("ip", ["link set eth0 mtu 1500"], namespace)


def loss(stage: Stage) -> None:
    """1 to 3 % of all frames lost."""
    stage.lan.loss(stage.rng.randint(10, 30))
    try:
        stage.seconds(8, 20)
    finally:
        stage.lan.loss(0)


TROUBLES: tuple[Callable[[Stage], None], ...] = (
    kill, kill, stop, partition, flaps, rot, rot, full, strangers, malformed, mtu, loss,
)  # fmt: skip


def mount_small(folder: Path, mebibytes: int) -> None:
    """A small disk in its place. Raises CalledProcessError."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Take it away, whoever still looks into it."""
    subprocess.run(["umount", "-l", str(folder)], check=False)
