"""What other programs lose to a transfer on their board: `scripts/bench/host busy fsync fsync-slow`.

Node 0 fetches over a link of 100 Mbit/s from node 1, which runs on the same machine and counts in full. Off and on take
turns, as the machine's own speed moves more than what is measured.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from board import DFEDGE, Broken, Member
from lab import Lan, available
from lab.command import LabError

from bench import machine
from bench.meter import TICK_S
from bench.scenario import MIB
from bench.slowdisk import slow_disk
from bench.stage import Image
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join

LINK: Final = 100.0  # Mbit/s
TURNS: Final = 5
TURN_S: Final = 5.0
SETTLE_S: Final = 2.0  # of a turn that are not looked at
IMAGE: Final = 96 * MIB  # more than a turn fetches
SLOW: Final = 20_000_000  # bytes/s
RECORD: Final = 200  # bytes
EVERY_S: Final = 0.02
LOOP: Final = "while True: pass"


class Pair:
    """A node that fetches, and one that serves it."""

    def __init__(self, lan: Lan, folder: Path, own: Path) -> None:
        """`own` is the folder of the node that fetches."""
        for place in {folder, own.parent}:
            (place / "dfedge.toml").touch()
        init_fleet(folder / "fleet", "bench")
        self._lan = lan
        self._members = []
        for node in range(2):
            place = folder / "node1" if node else own
            place.mkdir(exist_ok=True)
            member = Member(lan, node, f"node-{node}", place)
            enroll(folder / "fleet", member.name, {}, folder / f"enrol-{node}")
            join(folder / f"enrol-{node}", member.folder / "state")
            member.start()
            self._members.append(member)
        self._members[0].await_peers(1, 60)
        image = Image.make(folder, IMAGE).path
        self._members[1].ask("publish", str(image), "--name", "image", "--version", "1")
        image.unlink()
        self._get: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Fetch, until `end`."""
        member = self._members[0]
        self._get = self._lan.popen(
            0, [DFEDGE, "get", "image:1"], member.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self) -> float:
        """Stop, forget the image; returns Mbit/s of what came."""
        if self._get is not None:
            self._get.terminate()
            self._get.wait(30)
        member = self._members[0]
        images = [row for row in member.ask("ls")["images"] if row["have_bytes"]]
        moved = sum(int(row["have_bytes"]) for row in images)
        if images:
            member.ask("rm", "image:1")
        return moved * 8 / 1e6 / TURN_S


def busy(pair: Pair, _own: Path) -> str:
    """Two loops a core, each in a session of its own as services are: the CPU time that they get."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP], start_new_session=True) for _ in range(2 * _cores())]
    try:
        off, on, rates = _turns(pair, lambda: sum(_cpu(loop.pid) for loop in loops))
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    shares = [beside / alone for alone, beside in zip(off, on, strict=True)]
    lost = 1 - statistics.median(shares)
    spread = f"{1 - max(shares):.1%} to {1 - min(shares):.1%}"
    return f"busy: loops lose {lost:.1%} of their CPU time [{spread}], {_rates(rates)}"


def fsync(pair: Pair, own: Path) -> str:
    """A program that writes 200 bytes and syncs them, 50 times a second: its 95th percentile in ms."""
    path = own / "records"
    waits: dict[bool, list[float]] = {False: [], True: []}
    rates = []
    with path.open("wb", buffering=0) as file:
        for _ in range(TURNS):
            for on in (False, True):
                if on:
                    pair.begin()
                time.sleep(SETTLE_S)
                waits[on] += _synced(file.fileno(), TURN_S - SETTLE_S)
                if on:
                    rates.append(pair.end())
    alone, beside = (statistics.quantiles(waits[on], n=20)[-1] * 1000 for on in (False, True))
    bound = max(1.5 * alone, alone + 2)
    return f"fsync: p95 alone {alone:.2f} ms, beside {beside:.2f} ms (bound {bound:.2f}), {_rates(rates)}"


def _turns(pair: Pair, count: Callable[[], float]) -> tuple[list[float], list[float], list[float]]:
    found: dict[bool, list[float]] = {False: [], True: []}
    rates = []
    for _ in range(TURNS):
        for on in (False, True):
            if on:
                pair.begin()
            time.sleep(SETTLE_S)
            before, at = count(), time.monotonic()
            time.sleep(TURN_S - SETTLE_S)
            found[on].append((count() - before) / (time.monotonic() - at))
            if on:
                rates.append(pair.end())
    return found[False], found[True], rates


def _synced(fd: int, seconds: float) -> list[float]:
    waits = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        os.write(fd, bytes(RECORD))
        os.fsync(fd)
        waits.append(time.monotonic() - now)
        time.sleep(max(0.0, EVERY_S - waits[-1]))
    return waits


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _rates(rates: Sequence[float]) -> str:
    return f"dfedge {statistics.median(rates):.1f} Mbit/s [{min(rates):.1f}–{max(rates):.1f}]"


SITUATIONS: Final[Mapping[str, Callable[[Pair, Path], str]]] = {"busy": busy, "fsync": fsync, "fsync-slow": fsync}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/host",
        description="example: scripts/bench/host busy\n\nbusy, fsync, or fsync-slow (on a disk of 20 MB/s): "
        "what such programs lose while dfedge fetches.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("situation", nargs="*", choices=[*SITUATIONS, []], metavar="SITUATION", help="none: all")
    parser.add_argument("--temp", type=Path, default=Path("/var/tmp"), help="on the disk to try (default: %(default)s)")
    args = parser.parse_args(argv)
    if reason := available():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    print(f"machine: {machine.words()}", flush=True)
    for name in args.situation or SITUATIONS:
        try:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dfbench-", dir=args.temp)))
                slow = name.endswith("-slow")
                own = stack.enter_context(slow_disk(args.temp, SLOW)) if slow else folder / "node0"
                lan = stack.enter_context(Lan("host", 2, LINK))
                said = SITUATIONS[name](Pair(lan, folder, own), own)
                print(f"20 MB/s, {said}" if slow else said, flush=True)
        except (Broken, LabError) as error:
            print(f"{name}: failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
