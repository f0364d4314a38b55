"""A rotten seed beside a good one: nothing wrong is stored anywhere, and the seed finds it and mends itself."""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from argument import whole
from fleet import Board, Fleet, until

BLOCK: Final = 4096  # bytes
SHARE: Final = 0.10  # of the blocks
MENDED_S: Final = 300.0  # seconds in which the seed is to be whole again
WASTED: Final = 3  # pieces a node may waste
MIB: Final = 1024 * 1024


def flip_blocks(blob: Path, share: float, rng: random.Random) -> int:
    """Flip one bit in a share of a file's 4 KiB blocks, as a medium does that rots; returns how many."""
    mode = blob.stat().st_mode
    blob.chmod(0o600)
    chosen = rng.sample(range(blob.stat().st_size // BLOCK), int(blob.stat().st_size // BLOCK * share))
    with blob.open("r+b") as file:
        for block in chosen:
            at = block * BLOCK + rng.randrange(BLOCK)
            file.seek(at)
            byte = file.read(1)[0] ^ 1 << rng.randrange(8)
            file.seek(at)
            file.write(bytes([byte]))
        os.fsync(file.fileno())
    blob.chmod(mode)
    return len(chosen)


def blobs(board: Board) -> list[Path]:
    """The files that a node shows as complete."""
    return sorted((board.state / "blobs" / "sha256").iterdir())


def wrong_blobs(board: Board) -> int:
    """How many of them are not what their name says."""
    return sum(hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name for blob in blobs(board))


def is_whole(board: Board) -> bool:
    """Whether a node shows all it has as complete, and it is right to the last byte."""
    rows = board.ask("ls")["images"]
    return bool(rows) and all(row["complete"] for row in rows) and wrong_blobs(board) == 0


@dataclass(slots=True)
class Finding:
    """What came of one case."""

    case: str
    flipped: int
    wrong: int = 0  # files shown as complete that are not right
    wasted: list[int] = field(default_factory=list)  # pieces by node
    mended_s: float = 0.0
    pieces: int = 0  # that the seed found
    sources: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether every goal is met."""
        return self.wrong == 0 and max(self.wasted) <= WASTED and self.mended_s <= MENDED_S


def get_all(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Fetch at all nodes at once; returns each one's answer."""
    getting = [board.popen(["get", "image:1", "--json"], subprocess.PIPE, subprocess.DEVNULL) for board in boards]
    answers = []
    for process in getting:
        out, _ = process.communicate(timeout=300)
        answers.append(json.loads(out.splitlines()[-1]))
    return answers


def run_case(folder: Path, *, running: bool, size: int, nodes: int, seed: int) -> Finding:
    """One fleet, one rotten seed: it rots while it runs, with all its pieces proven, or while it is off."""
    fleet = Fleet(folder)
    rng = random.Random(seed)
    try:
        bad, good = fleet.board("rotten-seed"), fleet.board("good-seed")
        others = [fleet.board() for _ in range(nodes)]
        source = folder / "image"
        source.write_bytes(rng.randbytes(size))
        bad.start().ask("publish", str(source), "--name", "image", "--version", "1")
        good.start()
        get_all([good])
        if running:
            flipped = flip_blocks(blobs(bad)[0], SHARE, rng)
        else:
            bad.stop()
            flipped = flip_blocks(blobs(bad)[0], SHARE, rng)
            bad.start()
        finding = Finding("while it runs" if running else "while it is off", flipped)
        for board in others:
            board.start()
            until(lambda board=board: len(board.connected()) >= 2, f"{board.name} to be connected")  # type: ignore[misc]
        since = time.monotonic()
        answers = get_all(others)
        finding.wasted = [len({(one["peer"], one["piece"]) for one in answer["bad_pieces"]}) for answer in answers]
        until(lambda: is_whole(bad), "the rotten seed to be whole again", MENDED_S)
        finding.mended_s = time.monotonic() - since
        finding.wrong = sum(wrong_blobs(board) for board in fleet.boards)
        finding.wrong += sum(not is_whole(board) for board in fleet.boards)
        damage = bad.ask("status")["rot"][-1]
        finding.pieces = sum(file["pieces"] for file in damage["files"])
        finding.sources = tuple(damage["repaired_from"])
        return finding
    finally:
        fleet.stop()


def main(argv: Sequence[str]) -> int:
    """Run both cases and print what came of them."""
    parser = argparse.ArgumentParser(prog="scripts/faults/rot", description="One of two seeds rots.")
    parser.add_argument("--size", type=whole(), default=64, metavar="MIB")
    parser.add_argument("--nodes", type=whole(), default=4, help="nodes that fetch")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    args = parser.parse_args(argv)
    print(f"injected  one bit in {SHARE:.0%} of the 4 KiB blocks of a seed's {args.size} MiB; another seed is good")
    print(f"expected  0 wrong files; at most {WASTED} pieces wasted per node; mended within {MENDED_S:.0f} s")
    ok = True
    for running in (False, True):
        with tempfile.TemporaryDirectory(prefix="dfrot.") as folder:
            found = run_case(Path(folder), running=running, size=args.size * MIB, nodes=args.nodes, seed=args.seed)
        ok = ok and found.good
        wasted = ", ".join(map(str, found.wasted))
        print(
            f"found     {found.case}: {found.flipped:,} blocks rotted, {found.wrong} wrong files, "
            f"wasted {wasted} pieces, {found.pieces} pieces mended in {found.mended_s:.1f} s "
            f"from {', '.join(found.sources) or 'nobody'}: "
            f"{'ok' if found.good else 'MISSED'}",
            flush=True,
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
