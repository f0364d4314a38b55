"""What a fault did, and what it may do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
