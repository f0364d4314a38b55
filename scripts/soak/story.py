"""A soak from the start to the verdict: all publish and fetch, troubles come and go, then it is quiet."""

import hashlib
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lab
from faults.row import MIB, descriptors, resident
from fleet import Board, until

from dfedge.core.errors import DfedgeError
from dfedge.node.client import Client
from soak.trouble import TROUBLES, Stage
from soak.watch import Watch, agent_pid

IMAGE = 6 * MIB  # a second at 50 Mbit/s
KEPT = 3  # images that are around at a time
PUBLISH_EVERY = 15.0  # seconds
REST_S = 75.0  # after the last transfer: a get ends in 30 s, a swarm 30 s later, and 15 s later memory is given back
REST_EVERY = 180.0  # seconds of load and trouble between two looks at rest
HEAL_S = 240.0  # seconds in which everybody is to be complete
SLOPE = 1.0  # MiB an hour


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it: rows of what, expected, found, whether it holds."""

    title: str
    rows: list[tuple[str, str, str, bool]]

    @property
    def holds(self) -> bool:
        """Whether every row does."""
        return all(row[3] for row in self.rows)

    def __str__(self) -> str:
        lines = [self.title, "", "| | expected | found |", "|---|---|---|"]
        lines += [
            f"| {what} | {wanted} | {seen}{'' if good else ' **no**'} |" for what, wanted, seen, good in self.rows
        ]
        return "\n".join(lines)


def ask(board: Board, verb: str, **params: Any) -> dict[str, Any]:
    """Have a node's agent do something. Raises the DfedgeError of its answer."""
    with Client.connect(board.state / "run") as client:
        return dict(client.call(verb, params))


class Soak:
    """One run."""

    def __init__(
        self, lan: lab.Lan, boards: Sequence[Board], villains: Sequence[Board], folder: Path, seed: int
    ) -> None:
        self._boards = list(boards)
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(seed)
        immortal = max(2, len(boards) // 2)
        self._lasting = self._boards[:immortal]
        self._stage = Stage(lan, self._boards, list(villains), immortal, len(boards) - 1, self._rng)
        self._digests: dict[str, str] = {}  # of the images that are around, by ref, oldest first
        self._over = threading.Event()
        self._calm = threading.Event()  # nobody is to begin anything
        self._gets: Counter[str] = Counter()  # by outcome
        self._published = 0

    def run(self, seconds: float) -> Found:
        """Warm up, trouble, heal, rest, judge."""
        for board in self._boards:
            board.start()
        until(lambda: all(len(board.connected()) == len(self._boards) - 1 for board in self._boards), "all to meet", 90)
        self._publish()
        self._all_complete()
        time.sleep(REST_S)
        before = [self._takes(board) for board in self._lasting]
        watch = Watch(self._boards)
        workers = [
            threading.Thread(target=self._work, args=(board, number)) for number, board in enumerate(self._boards)
        ]
        workers.append(threading.Thread(target=self._publish_on))
        for worker in workers:
            worker.start()
        try:
            troubles = self._trouble(seconds, watch)
        finally:
            self._over.set()
        for worker in workers:
            worker.join()
        healed = time.monotonic()
        problem = ""
        try:
            self._all_complete()
        except AssertionError as error:
            problem = str(error)
        healing = time.monotonic() - healed
        time.sleep(REST_S)
        watch.rest(self._lasting)
        watch.end()
        after = [self._takes(board) for board in self._lasting]
        return self._judge(watch, seconds, troubles, (problem, healing), (before, after))

    # What goes on

    def _publish(self) -> None:
        number = self._published = self._published + 1
        source = self._folder / "image"
        data = os.urandom(IMAGE)
        source.write_bytes(data)
        board = self._publisher(number)
        done = board.run("publish", str(source), "--name", "soak", "--version", str(number), timeout=120)
        if done.returncode == 0:
            self._digests[f"soak:{number}"] = hashlib.sha256(data).hexdigest()
        else:
            self._gets[f"publish: {done.stderr.strip()[-60:]}"] += 1
        while len(self._digests) > KEPT:
            old = next(iter(self._digests))
            self._digests.pop(old)
            for each in self._boards:
                with suppress(DfedgeError, OSError):
                    ask(each, "rm", ref=old)

    def _publisher(self, number: int) -> Board:
        return self._lasting[number % len(self._lasting)]

    def _publish_on(self) -> None:
        while not self._over.wait(PUBLISH_EVERY):
            if self._calm.is_set():
                continue
            with suppress(AssertionError):  # the agent is stopped just now
                self._publish()

    def _work(self, board: Board, number: int) -> None:
        rng = random.Random(self._seed * 1000 + number)
        while not self._over.wait(rng.uniform(2, 6)):
            refs = list(self._digests)
            if not refs or self._calm.is_set():
                continue
            ref = rng.choice(refs)
            try:
                ask(board, "get", ref=ref, timeout=30)
                self._gets["ok"] += 1
                keeps = board is self._publisher(int(ref.rpartition(":")[2]))  # or nobody may have it any more
                if not keeps and rng.random() < 0.3:  # so that there is always something to fetch
                    ask(board, "rm", ref=ref)
            except DfedgeError as error:
                self._gets[error.code] += 1
            except OSError:
                self._gets["killed"] += 1

    def _trouble(self, seconds: float, watch: Watch) -> Counter[str]:
        count: Counter[str] = Counter()
        began = rested = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            trouble = self._rng.choice(TROUBLES)
            if sys.stderr.isatty() or os.environ.get("SOAK_TELL"):
                print(f"{at:7.1f} s {trouble.__name__}", file=sys.stderr, flush=True)
            trouble(self._stage)
            count[trouble.__name__] += 1
            self._stage.seconds(1, 5)
            if time.monotonic() - rested > REST_EVERY:
                self._rest(watch)
                rested = time.monotonic()
        return count

    def _rest(self, watch: Watch) -> None:
        self._calm.set()
        time.sleep(REST_S)
        watch.rest(self._lasting)
        self._calm.clear()

    def _all_complete(self) -> None:
        end = time.monotonic() + HEAL_S
        for board in self._boards:
            for ref, digest in self._digests.items():
                self._complete(board, ref, digest, end)

    def _complete(self, board: Board, ref: str, digest: str, end: float) -> None:
        trouble: object = "never tried"
        while time.monotonic() < end:
            try:
                ask(board, "get", ref=ref, timeout=60)
                blob = board.state / "blobs" / "sha256" / digest
                trouble = "its file is wrong"
                if hashlib.sha256(blob.read_bytes()).hexdigest() == digest:
                    return
                ask(board, "verify", ref=ref)  # it rotted, and nobody has read it since
            except (DfedgeError, OSError) as error:
                trouble = error
            time.sleep(1)
        raise AssertionError(f"{board.name} has no {ref}: {trouble}")

    def _takes(self, board: Board) -> tuple[int, int, int]:
        pid = agent_pid(board)
        return int(ask(board, "status")["tasks"]), descriptors(pid), resident(pid) // MIB

    # The verdict

    def _judge(
        self,
        watch: Watch,
        seconds: float,
        troubles: Counter[str],
        healed: tuple[str, float],
        takes: tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]],
    ) -> Found:
        problem, healing = healed
        slopes = {board.name: watch.slope(board.name, seconds / 3) for board in self._lasting}
        still = {board.name: watch.slope_at_rest(board.name, seconds / 3) for board in self._lasting}
        tasks, files, rest = ([(old[at], new[at]) for old, new in zip(*takes, strict=True)] for at in (0, 1, 2))
        crashed = [board.name for board in self._boards if "Traceback" in board.said]
        banned = [line for board in self._boards for line in _bans(board) if "villain" not in line]
        rows = [
            ("after the heal", "everybody complete", problem or f"all, {healing:.0f} s later", not problem),
            ("memory of those never killed, MiB/h after a third of the time", f"< {SLOPE:.0f}",
             ", ".join(f"{slope:+.1f}" for slope in slopes.values()), max(slopes.values()) < SLOPE),
            ("the same at rest, MiB/h", f"< {SLOPE:.0f}",
             ", ".join(f"{slope:+.1f}" for slope in still.values()), max(still.values()) < SLOPE),
            ("their memory at each rest, MiB", "",
             "; ".join(" ".join(f"{nbytes / MIB:.1f}" for _, nbytes in rows) for rows in watch.rests.values()), True),
            ("their memory in each sixth of the time, MiB", "",
             "; ".join(" ".join(f"{part:.0f}" for part in watch.sixths(name)) for name in slopes), True),
            ("their memory at rest, before and after, MiB", "", _pairs(rest), True),
            ("their descriptors at rest, before and after", "flat", _pairs(files), _flat(files, 8)),
            ("what those of the first are", "", _open_files(self._lasting[0]), True),
            ("their tasks at rest, before and after", "flat", _pairs(tasks), _flat(tasks, 8)),
            ("tracebacks in a log", "0", f"{len(crashed)} {' '.join(crashed)}".strip(), not crashed),
            ("honest nodes banned", "0", "; ".join([str(len(banned)), *banned]), not banned),
            ("images published, gets by outcome", "", f"{self._published}; {_counts(self._gets)}", True),
            ("troubles", "", _counts(troubles), True),
        ]  # fmt: skip
        rows += [("told", "nothing", told, False) for told in self._stage.told[:5]]
        for name in crashed:
            said = next(board.said for board in self._boards if board.name == name)
            at = said.find("Traceback")
            print(f"{name}: {said[max(0, at - 300) : at + 3000]}", file=sys.stderr)
        return Found(f"soak: {len(self._boards)} nodes, {seconds / 60:g} min, seed {self._seed}", rows)


def _bans(board: Board) -> list[str]:
    return [f"{board.name}: {line}" for line in board.said.splitlines() if "banned peer=" in line]


def _open_files(board: Board) -> str:
    """Sockets by their kind, files by their folder."""
    folder = Path(f"/proc/{agent_pid(board)}/fd")
    kinds: Counter[str] = Counter()
    for entry in folder.iterdir():
        with suppress(OSError):
            target = str(entry.readlink())
            kinds[Path(target).parent.name if target.startswith("/") else target.partition(":")[0]] += 1
    return _counts(kinds)


def _pairs(counts: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{before} → {after}" for before, after in counts)


def _flat(counts: Sequence[tuple[int, int]], slack: int) -> bool:
    """`slack` is for sessions that were exchanged and images held beyond the first."""
    return all(after <= before + slack for before, after in counts)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.most_common())
