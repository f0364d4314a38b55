"""What a fault did, and what it may do."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet import Board

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row of docs/reliability.md. `holds` says that what was found is what was expected."""

    injected: str
    expected: str
    found: str
    holds: bool

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"injected: {self.injected}\nexpected: {self.expected}\nfound:    {self.found}\n{verdict}"


Measure = Callable[[Path], Row]
"""Injects a fault, with the given folder for all that it needs, and says what it found."""


def seeded(seed: Board, folder: Path, nbytes: int) -> None:
    """Publish a new image of so many bytes at a node; `FOLDER/image` is what it has."""
    (folder / "image").write_bytes(os.urandom(nbytes))
    seed.ask("publish", str(folder / "image"), "--name", "image", "--version", "1")


def fetch(board: Board, folder: Path) -> float:
    """Fetch it, anew if it is there; returns the seconds that took."""
    board.run("rm", "image:1")
    started = time.monotonic()
    board.ask("get", "image:1", "-o", str(folder / "out"), "--force", timeout=120)
    seconds = time.monotonic() - started
    assert (folder / "out").read_bytes() == (folder / "image").read_bytes()
    return seconds


def held_bytes(board: Board) -> int:
    """How many bytes of its one image a node holds."""
    rows = board.ask("ls")["images"]
    return int(rows[0]["have_bytes"]) if rows else 0


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def crash(log: str) -> str:
    """The first traceback in an agent's log, for the row; empty if there is none."""
    at = log.find("Traceback")
    return f"; crashed: {log[max(0, at - 200) : at + 2000]}" if at >= 0 else ""
