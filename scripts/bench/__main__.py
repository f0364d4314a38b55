"""Compare: `scripts/bench/run fast8 --systems dfedge,libtorrent,uftp --rounds 5`."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Final

from board import Broken, promise
from lab import available
from lab.command import LabError

from bench import report
from bench.scenario import MIB, NAMED, Scenario
from bench.stage import Image
from bench.systems import SYSTEMS
from bench.trial import Trial, run

KEEP_FREE: Final = 1024 * MIB


def main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        scenario = _scenario(args)
        _compare(scenario, args)
    except (Broken, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; everything it made is removed", file=sys.stderr)
        return 130
    return 0


def _compare(scenario: Scenario, args: argparse.Namespace) -> None:
    reasons = {name: SYSTEMS[name].missing(scenario) for name in args.systems}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    trials: list[Trial] = []
    print(f"{scenario.name}: {scenario.words}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=args.temp) as made:
        folder = Path(made)
        needed = (3 * scenario.takers + 4) * scenario.size + KEEP_FREE
        free = shutil.disk_usage(folder).free
        promise(free >= needed, f"{folder.parent} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; try --temp")
        image = Image.make(folder, scenario.size)
        for round_ in range(1, args.rounds + 1):
            for name in [name for name in args.systems if name not in skipped]:
                trial = run(SYSTEMS[name], scenario, image, folder / f"{round_}-{name}", round_)
                trials.append(trial)
                print(report.line(trial), flush=True)
                _append(args.json, trial)
    print(f"\n{report.table(scenario, trials, skipped)}")


def _append(path: Path | None, trial: Trial) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="Send one image over one LAN through dfedge and other systems, and compare.",
        epilog="scenarios: " + "; ".join(f"{one.name} ({one.words})" for one in NAMED.values()),
    )
    parser.add_argument("scenario", choices=sorted(NAMED))
    parser.add_argument("--systems", type=_names, default=["dfedge", "libtorrent", "uftp"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, help="takers, instead of the scenario's")
    parser.add_argument("--size", type=float, metavar="MIB")
    parser.add_argument("--rate", type=float, metavar="MBIT")
    parser.add_argument("--loss", type=int, metavar="PERMILLE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add each run to it, one object a line")
    parser.add_argument("--temp", type=Path, default=_roomiest(), help="where the temporary folder goes")
    return parser


def _scenario(args: argparse.Namespace) -> Scenario:
    scenario = NAMED[args.scenario]
    if args.nodes is not None:
        scenario = replace(scenario, takers=args.nodes)
    if args.size is not None:
        scenario = replace(scenario, size=int(args.size * MIB))
    if args.rate is not None:
        scenario = replace(scenario, rate_mbit=args.rate)
    if args.loss is not None:
        scenario = replace(scenario, loss_permille=args.loss)
    return scenario


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return names


def _roomiest() -> Path:
    """$TMPDIR if set; else of /tmp and /var/tmp the one with more room."""
    if asked := os.environ.get("TMPDIR"):
        return Path(asked)
    return max((Path("/tmp"), Path("/var/tmp")), key=lambda path: shutil.disk_usage(path).free if path.is_dir() else -1)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    if reason := available():
        sys.exit(f"bench: {reason}")
    sys.exit(main(sys.argv[1:]))
