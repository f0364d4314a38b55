"""A large image, most of it zeros: what it costs to publish and to fetch. See `scripts/bench/large`."""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from board import Broken, Member, promise
from lab import Lan, available
from lab.command import LabError

from bench import machine
from bench.meter import Meter
from bench.scenario import MIB
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join

GIB: Final = 1024 * MIB
SAMPLE: Final = 2 * GIB  # bytes hashed to learn the speed of SHA-256
PEERS_S: Final = 60.0
COMMAND_S: Final = 600.0  # what publishing or fetching may take
REF: Final = "large:1"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command cost."""

    seconds: float
    cpu_s: float
    document: dict[str, Any]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench/large", description=__doc__)
    parser.add_argument("--gib", type=int, default=20, help="size of the image")
    parser.add_argument("--real-mib", type=int, default=64, help="how much of it is not zeros")
    parser.add_argument("--temp", type=Path, help="where it may take room, twice what is not zeros")
    args = parser.parse_args(argv)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        promise(not available(), available())
        promise(0 < args.real_mib <= args.gib * 1024, "--real-mib: at least 1, at most the image")
        with tempfile.TemporaryDirectory(prefix="dflarge-", dir=args.temp) as made, Lan("large", 2) as lan:
            measure(lan, Path(made), args.gib * GIB, args.real_mib)
    except (Broken, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def measure(lan: Lan, folder: Path, size: int, real: int) -> None:
    """Publish at node 0, fetch at node 1, and print what it cost."""
    image = disk(folder / "disk.img", size, real)
    seed, taker = _members(lan, folder)
    meter = Meter(lan)
    speed = sha256_speed()
    print(f"{machine.words()}\nSHA-256 on one core: {speed / GIB:.2f} GiB/s", flush=True)
    published = _cost(meter, seed, "publish", str(image), "--name", "large", "--version", "1")
    share = size / published.seconds / speed
    _print("publish", published, f"{published.document['pieces']:,} pieces, {share:.0%} of the speed of SHA-256")
    got = _cost(meter, taker, "get", REF)
    _print("get", got, f"{got.document['bytes_fetched'] / MIB:,.0f} MiB fetched")
    verified = _cost(meter, taker, "verify", REF)
    promise(verified.document["bad"] == 0, f"{verified.document['bad']} pieces are bad at the taker")
    _print("verify", verified, f"{verified.document['checked']:,} pieces proven")
    (manifest,) = (seed.folder / "state/manifests").glob("*.manifest")
    print(f"manifest: {manifest.stat().st_size:,} bytes")
    for member in (seed, taker):
        peak, taken = meter.peak_bytes([member.number]) / MIB, on_disk(member.folder / "state") / MIB
        print(f"{member.name}: {peak:.0f} MiB of memory at most, {taken:,.0f} MiB on disk")


def disk(path: Path, size: int, real: int) -> Path:
    """A file of `size` bytes with `real` MiB of random bytes spread over it, and holes between them."""
    with path.open("wb") as file:
        file.truncate(size)
        for number in range(real):
            file.seek(size // MIB * number // real * MIB)
            file.write(os.urandom(MIB))
    return path


def sha256_speed() -> float:
    """Bytes/s that one core hashes from a buffer of 1 MiB."""
    buffer, digest = bytes(MIB), hashlib.sha256()
    began = time.perf_counter()
    for _ in range(SAMPLE // MIB):
        digest.update(buffer)
    return SAMPLE / (time.perf_counter() - began)


def on_disk(folder: Path) -> int:
    """Bytes that the files of a folder take."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _members(lan: Lan, folder: Path) -> list[Member]:
    (folder / "dfedge.toml").touch()
    init_fleet(folder / "fleet", "large")
    members = [Member(lan, number, f"node-{number}", folder / f"node{number}") for number in range(lan.nodes)]
    for member in members:
        member.folder.mkdir()
        enroll(folder / "fleet", member.name, {}, folder / f"enrol-{member.name}")
        join(folder / f"enrol-{member.name}", member.folder / "state")
        member.start()
    for member in members:
        member.await_peers(len(members) - 1, PEERS_S)
    return members


def _cost(meter: Meter, member: Member, *command: str) -> Cost:
    meter.look()
    before, began = meter.cpu_s(), time.perf_counter()
    document = member.ask(*command, seconds=COMMAND_S)
    seconds = time.perf_counter() - began
    meter.look()
    return Cost(seconds, meter.cpu_s() - before, document)


def _print(what: str, cost: Cost, more: str) -> None:
    print(f"{what}: {cost.seconds:.1f} s, {cost.cpu_s:.1f} s of CPU on both nodes; {more}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
