"""Run it: `python scripts/soak [--minutes 30] [--seed 1] [--nodes 8]`. Needs root."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")]

if TYPE_CHECKING:
    from soak.story import Found

RATE = 50.0  # Mbit/s of each link: two cores carry eight of them
SMALL = 96  # MiB
UNABLE = 77  # the exit code where this host does not let us


def measure(folder: Path, minutes: float, seed: int, nodes: int) -> "Found":
    """One soak, in a folder for all that it needs."""
    import lab
    from fleet import Fleet

    from soak.story import Soak
    from soak.trouble import VILLAINS, mount_small, unmount

    with ExitStack() as stack:
        lan = stack.enter_context(lab.Lan("soak", nodes, RATE))
        fleet = Fleet(folder, lan)
        small = folder / "small"
        stack.callback(unmount, small)
        mount_small(small, SMALL)
        boards = [fleet.board() for _ in range(nodes - 1)]
        boards.append(fleet.board(f"node-{nodes - 1}", small / "state"))
        villains = [fleet.board(f"villain-{number}") for number in range(VILLAINS)]
        stack.callback(fleet.stop)
        return Soak(lan, boards, villains, folder, seed).run(minutes * 60)


def main(argv: Sequence[str]) -> int:
    """Run one, print the table, write it; 1 if a promise is broken."""
    from argument import number, whole

    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=number(0.1), default=30, help="of faults; the rest after it is a minute or two"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random faults")
    parser.add_argument("--nodes", type=whole(3, 32), default=8)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there too")
    args = parser.parse_args(argv)
    import lab

    if reason := lab.available():
        print(f"soak: {reason}", file=sys.stderr)
        return UNABLE
    with tempfile.TemporaryDirectory(prefix="dfs.", ignore_cleanup_errors=True) as folder:
        found = measure(Path(folder), args.minutes, args.seed, args.nodes)
    print(found)
    if args.out:
        args.out.write_text(f"{found}\n", encoding="utf-8")
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
