"""Staying out of the way, measured: `scripts/bench/throttle down-flow up-flow --profile full`.

Node 0 is ours, behind a link of 100 Mbit/s with 50 ms of FIFO at either end; its peers and the other flow's far end are
not shaped. What is ours on the link is what its counters say less what the other flow got.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from board import Broken
from lab import available
from lab.command import LabError

from bench import machine
from bench.command import roomiest
from bench.play import Play
from bench.seen import Record
from bench.situation import END, FLOW_AT, FLOW_S, SITUATIONS, Situation


def words(name: str, situation: Situation, record: Record) -> str:
    """A line of the table."""
    cells = [f"{name:<15}"]
    flow_at = FLOW_AT if situation.ours else 0.0
    late = (flow_at + 2.5, flow_at + FLOW_S - 0.5)
    if situation.cap_mbit:
        way = situation.ours[0]
        windows = record.windows(way, 4, 14)
        cells.append(f"{record.rate(way, 4, 14):6.2f} Mbit/s, tenths {min(windows):.2f} to {max(windows):.2f}")
    elif situation.ours:
        alone = (3.0, FLOW_AT if situation.flow else situation.seconds - 1)
        cells += [f"alone {way} {record.rate(way, *alone):5.1f}" for way in situation.ours]
        cells.append(f"ping {record.delay(*alone):5.1f}")
    if situation.flow:
        beside = [f"ours {way} {record.rate(way, *late, ours=way == situation.flow):5.1f}" for way in situation.ours]
        cells += [f"flow {record.flow_rate(*late):5.1f}", *beside, f"ping {record.delay(*late):5.1f}"]
        if situation.ours:
            cells += [f"back {_back(record, way):.1f} s" for way in situation.ours if way == situation.flow]
    if situation.slow_peer_mbit:
        got = sorted(moved for name, moved in record.peers.items() if name != "node-1")
        cells.append(f"least/most {got[0] / max(1, got[-1]):.2f}")
    if situation.ours:
        cells.append(f"cpu {record.cpu:.2f}")
    return "  ".join(cells) + ("\n" + " " * 17 + "; ".join(record.reasons) if record.reasons else "")


def _back(record: Record, way: str) -> float:
    """Seconds after the flow's end until ours is at 90 % of what it was."""
    wanted = 0.9 * record.rate(way, 3.0, FLOW_AT)
    end = FLOW_AT + FLOW_S
    for tenth in range(int((END - end - 1) * 10)):
        start = end + tenth / 10
        if record.rate(way, start, start + 0.5) >= wanted:
            return tenth / 10
    return float("inf")


@contextmanager
def _folder(temp: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=temp) as made:
        yield Path(made)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/throttle",
        description="example: scripts/bench/throttle down-flow up-flow\n\nMbit/s on the wire, ms; medians of one run.",
        epilog="situations:\n" + "\n".join(f"  {name:<15} {one.words}" for name, one in SITUATIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("situation", nargs="*", choices=[*SITUATIONS, []], metavar="SITUATION", help="none: all")
    parser.add_argument("--profile", default="background", help="background, balanced, full, or off")
    parser.add_argument(
        "--system", default="dfedge", choices=["dfedge", "utp"], help="whose transfers; utp: libtorrent's"
    )
    parser.add_argument("--temp", type=Path, default=roomiest(), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if reason := available():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    print(f"machine: {machine.words()}\n{args.system}, profile: {args.profile}", flush=True)
    failed = False
    for name in args.situation or SITUATIONS:
        situation = SITUATIONS[name]
        environment = _environment(args.profile, situation)
        try:
            with _folder(args.temp) as folder:
                print(words(name, situation, Play(situation, folder, environment, args.system).run()))
        except (Broken, LabError) as error:
            print(f"{name:<15}  failed: {error}")
            failed = True
        sys.stdout.flush()
    return 1 if failed else 0


def _environment(profile: str, situation: Situation) -> dict[str, str]:
    settings = {"PROFILE": profile} if profile != "off" else {"ENABLED": "false"}
    if situation.cap_mbit:
        settings |= {"MAX_UP": f"{situation.cap_mbit} Mbit/s", "MAX_DOWN": f"{situation.cap_mbit} Mbit/s"}
    return {f"DFEDGE_THROTTLE_{key}": value for key, value in settings.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
