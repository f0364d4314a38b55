"""Cut the power of a node, or kill it, at random moments of a get, and look at what is left.

python scripts/faults powercut --rounds 50     ext4 on a loop device, needs root
python scripts/faults kill --rounds 200
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from argument import whole

from dfedge.core.errors import DfedgeError
from faults.disk import Disk, Unable, mounted
from faults.pair import Broken, Pair

MIB: Final = 1024 * 1024
MOST_LOST: Final = 16 * MIB
AGAIN: Final = 10  # rounds after which a get is timed anew: a machine is not as fast all day
MOST_START: Final = 3.0  # seconds that a start after a crash may take longer than one after a clean end
OWN_MOUNTS: Final = "FAULTS_OWN_MOUNTS"
UNABLE: Final = 77  # the exit code where this host does not let us


@dataclass(slots=True)
class Found:
    """What the rounds showed. Bytes and seconds."""

    rounds: int = 0
    complete: int = 0  # rounds after which the image was shown complete
    wrong: int = 0
    lost: list[int] = field(default_factory=list)  # proven before, and fetched again
    starts: list[float] = field(default_factory=list)
    tracebacks: int = 0


def main(what: str, argv: Sequence[str]) -> int:
    """Run the rounds and print the table; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/faults {what}", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=whole(), default=5)
    parser.add_argument("--size", type=whole(), default=64, metavar="MIB", help="of the image (64)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--patient", action="store_true", help="a slow start is no failure: on a busy machine")
    args = parser.parse_args(argv)
    if what == "powercut" and os.geteuid() != 0:
        print("faults: powercut mounts a file system, which takes root", file=sys.stderr)
        return UNABLE
    if what == "powercut" and os.environ.get(OWN_MOUNTS) is None:
        # a mount that another process had copied would keep the dead file system alive
        os.environ[OWN_MOUNTS] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.orig_argv[1:]])
    try:
        found, run_s, clean_s = _rounds(what, args.rounds, args.size * MIB, random.Random(args.seed))
    except Unable as error:
        print(f"faults: {error}", file=sys.stderr)
        return UNABLE
    except (Broken, DfedgeError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    return _report(what, args, found, run_s, clean_s)


def _rounds(what: str, rounds: int, nbytes: int, rng: random.Random) -> tuple[Found, float, float]:
    found = Found()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dff", ignore_cleanup_errors=True)))
        disk = stack.enter_context(mounted(folder, 4 * nbytes // MIB + 64)) if what == "powercut" else None
        pair = Pair(folder, (disk.mountpoint if disk else folder) / "state", nbytes)
        stack.callback(pair.stop)
        pair.publish()
        clean_s, run_s = _calibrate(pair, min(3, 1 + rounds // 20))
        for number in range(rounds):
            if number % AGAIN == AGAIN - 1:
                run_s = _time_get(pair)
            _one(pair, disk, rng.uniform(0, 1.1) * run_s, found)
            if sys.stderr.isatty():
                print(f"\r{what} {number + 1}/{rounds}", end="", file=sys.stderr)
        found.tracebacks = pair.board.said.count("Traceback")
        pair.board.stop()
    return found, run_s, clean_s


def _calibrate(pair: Pair, times: int) -> tuple[float, float]:
    """How long a clean start takes, and how long a get."""
    starts, gets = [], []
    for _ in range(times):
        starts.append(pair.board.start())
        gets.append(_time_get(pair))
        pair.board.stop()
    pair.board.start()
    return median(starts), median(gets)


def _time_get(pair: Pair) -> float:
    """How long a get takes that nothing stops."""
    pair.board.wait_for_peer()
    begun = time.monotonic()
    pair.get()
    took = time.monotonic() - begun
    pair.forget()
    return took


def _one(pair: Pair, disk: Disk | None, moment: float, found: Found) -> None:
    """Begin a get, stop everything at that moment, start again and finish."""
    pair.board.wait_for_peer()

    def get() -> None:
        with suppress(DfedgeError):
            pair.board.ask("get", ref="gateway-os:1", timeout=60)

    getting = threading.Thread(target=get)
    getting.start()
    time.sleep(moment)
    if disk is not None:
        disk.cut()
    before, was_complete = pair.board.held()  # what was written after the cut is not held
    pair.board.stop(signal.SIGKILL)
    getting.join()
    if disk is not None:
        disk.unmount()
        disk.mount()
    found.rounds += 1
    found.starts.append(pair.board.start())
    _, complete = pair.board.held()
    if complete:
        found.complete += 1
        found.wrong += not pair.is_right()
    elif was_complete:
        raise Broken("an image was shown complete, and after the cut it is not")
    got = pair.get()
    found.lost.append(0 if complete else max(0, before - got["bytes_reused"]))
    pair.forget()


def _report(what: str, args: argparse.Namespace, found: Found, run_s: float, clean_s: float) -> int:
    slower = max(found.starts) - clean_s
    rows = [
        ("wrong files shown complete", "0", str(found.wrong), found.wrong == 0),
        ("tracebacks", "0", str(found.tracebacks), found.tracebacks == 0),
        ("proven bytes fetched again, the most", "≤ 16 MiB", f"{max(found.lost) / MIB:.1f} MiB",
         max(found.lost) <= (MOST_LOST if what == "powercut" else 0)),
        ("proven bytes fetched again, the median", "", f"{median(found.lost) / MIB:.1f} MiB", True),
        (f"start, beyond a clean one of {clean_s:.1f} s, the most", "≤ 3 s", f"{slower:.1f} s",
         slower <= MOST_START or args.patient),
        ("the same, the median", "", f"{median(found.starts) - clean_s:.1f} s", True),
        ("rounds after which the image was complete", "", f"{found.complete} of {found.rounds}", True),
    ]  # fmt: skip
    if what == "kill":
        rows[2] = (rows[2][0], "0", *rows[2][2:])
    print(f"{what}: {found.rounds} at random moments over 0 to 1.1 × a get of {args.size} MiB ({run_s:.2f} s)\n")
    print("| | expected | found |\n|---|---|---|")
    for label, expected, seen, good in rows:
        print(f"| {label} | {expected} | {seen}{'' if good else ' **no**'} |")
    return 0 if all(row[3] for row in rows) else 1
