"""What `scripts/bench/run` understands: a named scenario, and what to change of it."""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from argument import list_of, number, one_of, whole

from bench.scenario import MIB, NAMED, Scenario
from bench.systems import SYSTEMS

DEFAULT_SYSTEMS = ("dfedge", "libtorrent", "uftp")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the result has `.scenario` as a Scenario. Exits with 2 on wrong usage, raises Broken."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="example: scripts/bench/run fast8 --systems dfedge,libtorrent,uftp --rounds 5\n\n"
        "Sends one image over one LAN through dfedge and other systems, and compares.",
        epilog="scenarios:\n" + "\n".join(f"  {one.name:<10} {one.words}" for one in NAMED.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", choices=list(NAMED), metavar="SCENARIO", help="one of those below")
    parser.add_argument(
        "--systems", type=_systems, default=list(DEFAULT_SYSTEMS), help=f"of {', '.join(SYSTEMS)}; or all"
    )
    parser.add_argument("--rounds", type=whole(), default=5)
    changes = parser.add_argument_group("what to change of the scenario")
    changes.add_argument("--nodes", type=whole(), help="how many take it")
    changes.add_argument("--size", type=number(0.001), metavar="MIB")
    changes.add_argument("--rate", type=number(0), metavar="MBIT", help="of each link; 0: not shaped")
    changes.add_argument("--rates", type=list_of(number(0)), metavar="MBIT,…", help="of each taker's link")
    changes.add_argument("--loss", type=whole(0, 999), metavar="PERMILLE", help="of all frames at the switch")
    changes.add_argument(
        "--late", type=_pair, action="append", metavar="NODE:SHARE", help="it starts at that share of S/R"
    )
    changes.add_argument("--leave", type=_pair, action="append", metavar="NODE:SECONDS", help="it is killed then")
    changes.add_argument(
        "--seed-dies", type=number(0.001), metavar="TIMES", help="the seed is killed when it has sent that many images"
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", type=Path, metavar="FILE", help="add each run to it, one object a line")
    results.add_argument("--again", type=Path, metavar="FILE", help="take the runs from such a file, run nothing")
    results.add_argument("--write", type=Path, metavar="PAGE", help="put it into this page, and a picture beside it")
    results.add_argument("--profile", action="store_true", help="one run of dfedge under cProfile, nothing else")
    parser.add_argument(
        "--temp", type=Path, default=roomiest(), help="where the temporary folder goes (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    args.scenario = changed(NAMED[args.scenario], args)
    return args


def changed(scenario: Scenario, args: argparse.Namespace) -> Scenario:
    """The scenario with what the options say; it gets another name then, so that nobody takes it for the named one."""
    changes: dict[str, Any] = {}
    if args.rates is not None:
        changes |= {"taker_rates": tuple(args.rates), "takers": len(args.rates)}
    if args.nodes is not None:
        changes |= {"takers": args.nodes} | ({} if args.rates else {"taker_rates": ()})
    if args.size is not None:
        changes["size"] = int(args.size * MIB)
    if args.rate is not None:
        changes["rate_mbit"] = args.rate or None
    if args.loss is not None:
        changes["loss_permille"] = args.loss
    if args.late is not None:
        changes["late"] = dict(args.late)
    if args.leave is not None:
        changes["leaves"] = dict(args.leave)
    if args.seed_dies is not None:
        changes["seed_dies_at"] = args.seed_dies
    return replace(scenario, name=f"{scenario.name}-changed", **changes) if changes else scenario


def roomiest() -> Path:
    """$TMPDIR if set; else of /tmp and /var/tmp the one with more room."""
    if asked := os.environ.get("TMPDIR"):
        return Path(asked)
    return max((Path("/tmp"), Path("/var/tmp")), key=lambda path: shutil.disk_usage(path).free if path.is_dir() else -1)


def _systems(text: str) -> list[str]:
    return list(SYSTEMS) if text == "all" else list_of(one_of(SYSTEMS))(text)


def _pair(text: str) -> tuple[int, float]:
    node, _, told = text.partition(":")
    if not node.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}; write a node and a number, as 8:0.5")
    return int(node), number(0)(told)
