"""Compare: `scripts/bench/run fast8 --systems dfedge,libtorrent,uftp --rounds 5`."""

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from board import Broken, promise
from lab import available
from lab.command import LabError

from bench import command, machine, page, plot, profile, record, report
from bench.scenario import MIB, Scenario
from bench.stage import Image
from bench.systems import SYSTEMS
from bench.systems.dfedge import Dfedge
from bench.trial import Trial, run

KEEP_FREE: Final = 1024 * MIB


def main(argv: Sequence[str]) -> int:
    # An installed program is compiled; without this every command of a node would compile itself again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        args = command.parse(argv)
        if args.profile:
            _profile(args.scenario, args)
        else:
            _compare(args.scenario, args, shlex.join(["scripts/bench/run", *argv]))
    except (Broken, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; everything it made is removed", file=sys.stderr)
        return 130
    return 0


def _compare(scenario: Scenario, args: argparse.Namespace, again: str) -> None:
    print(f"{scenario.name}: {scenario.words}\nmachine: {machine.words()}", flush=True)
    skipped: dict[str, str] = {}
    promise(args.write is None or args.write.parent.is_dir(), f"--write {args.write}: there is no such folder")
    if args.again:
        trials = [trial for trial in record.read(args.again, scenario.name) if trial.system in args.systems]
        promise(bool(trials), f"{args.again}: no run of {scenario.name}")
    else:
        promise(not available(), available())
        reasons = {name: SYSTEMS[name].missing(scenario) for name in args.systems}
        skipped = {name: reason for name, reason in reasons.items() if reason}
        trials = _run_all(scenario, args, [name for name in args.systems if name not in skipped])
    print(f"\n{report.table(scenario, trials, skipped)}")
    if args.write:
        _write(args.write, scenario, trials, skipped, again)


def _run_all(scenario: Scenario, args: argparse.Namespace, systems: Sequence[str]) -> list[Trial]:
    trials = []
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=args.temp) as made:
        folder = Path(made)
        image = _image(folder, scenario)
        for round_ in range(1, args.rounds + 1):
            for name in systems:
                trial = run(SYSTEMS[name], scenario, image, folder / f"{round_}-{name}", round_)
                trials.append(trial)
                print(report.line(trial), flush=True)
                if args.json:
                    record.append(args.json, trial)
    return trials


def _profile(scenario: Scenario, args: argparse.Namespace) -> None:
    promise(not available(), available())
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=args.temp) as made:
        folder = Path(made)
        image = _image(folder, scenario)
        trial = run(Dfedge, scenario, image, folder / "profiled", 1, profile=folder)
        print(report.line(trial), flush=True)
        profile.show(folder)


def _image(folder: Path, scenario: Scenario) -> Image:
    needed = (3 * scenario.takers + 4) * scenario.size + KEEP_FREE
    free = shutil.disk_usage(folder).free
    promise(free >= needed, f"{folder.parent} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; try --temp")
    return Image.make(folder, scenario.size)


def _write(path: Path, scenario: Scenario, trials: Sequence[Trial], skipped: Mapping[str, str], again: str) -> None:
    pictures = path.parent / "img"
    pictures.mkdir(parents=True, exist_ok=True)
    picture = pictures / f"bench-{scenario.name}.svg"
    picture.write_text(plot.draw(scenario, trials, machine.words()), encoding="utf-8")
    systems = {trial.system: SYSTEMS[trial.system].words for trial in trials}
    about = report.About(systems, machine.words(), again, f"img/{picture.name}")
    page.write(path, scenario.name, report.section(scenario, trials, skipped, about))
    print(f"\nwritten: {path}, {picture}")


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
