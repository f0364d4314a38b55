"""What the processes of a LAN cost: seconds of CPU and the most memory of each, read from /proc.

A process belongs to a node by its network namespace, or because we started it there. What it has collected from ended
children counts as its own, so no CPU is lost as long as somebody waits for them; what we start stays a zombie that can
still be read until the LAN closes.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import Lan
from lab.place import NAMESPACES

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PARENT: Final = 1  # fields of /proc/PID/stat after the name, from 0 (proc(5))
_TIMES: Final = slice(11, 15)
_STARTED: Final = 19


@dataclass(slots=True)
class Seen:
    """A process as it was when last looked at."""

    node: int
    started: int = 0  # ticks since boot: with the pid it names a process for good; 0: not looked at yet
    command: str = ""
    parent: int = 0
    ticks: int = 0  # user and system, its waited-for children included
    peak_bytes: int = 0  # VmHWM


class Meter:
    """Measures the nodes of `lan`; call `look` now and then, for the memory of what ends between two looks."""

    def __init__(self, lan: Lan) -> None:
        self._node_of: Final = {(NAMESPACES / lan.namespace(node)).stat().st_ino: node for node in range(lan.nodes)}
        self._alive: dict[int, Seen] = {}
        self._ended: list[Seen] = []
        self._ignored: set[int] = set()
        self._lost_ticks = 0  # of what ended with nobody of ours to wait for it

    def add(self, pid: int, node: int) -> None:
        """Watch a process that may end before it is ever looked at; its parent must not wait for it meanwhile."""
        self._alive[pid] = Seen(node)

    def ignore(self, pid: int) -> None:
        """Leave out a process of the measurement's own."""
        self._ignored.add(pid)

    def look(self) -> None:
        """Read what every process of the LAN has used so far."""
        present = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()} - self._ignored
        for pid in present:
            self._look_at(pid)
        gone = [pid for pid in self._alive if pid not in present]
        ended = {pid: self._alive.pop(pid) for pid in gone}
        for seen in ended.values():
            if seen.parent not in self._alive and seen.parent not in ended:
                self._lost_ticks += seen.ticks
        self._ended += ended.values()

    def cpu_s(self) -> float:
        """Seconds of CPU of all the processes ever seen, as of the last look; only differences mean something."""
        return (self._lost_ticks + sum(seen.ticks for seen in self._alive.values())) * TICK_S

    def cpu_of(self, pid: int) -> float:
        """Seconds of CPU of one process and its ended children; 0 if it is not among ours."""
        seen = self._alive.get(pid)
        return seen.ticks * TICK_S if seen else 0.0

    def pids(self, node: int) -> list[int]:
        """The processes of a node, as of the last look."""
        return [pid for pid, seen in self._alive.items() if seen.node == node]

    def peak_bytes(self, nodes: Iterable[int]) -> int:
        """The most memory any one process of these nodes has had."""
        among = set(nodes)
        every = (*self._alive.values(), *self._ended)
        return max((seen.peak_bytes for seen in every if seen.node in among), default=0)

    def peaks(self, node: int) -> dict[str, int]:
        """The most memory of each command that ran at a node; of several with one name, the biggest."""
        peaks: dict[str, int] = {}
        for seen in (*self._alive.values(), *self._ended):
            if seen.node == node and seen.peak_bytes:
                peaks[seen.command] = max(peaks.get(seen.command, 0), seen.peak_bytes)
        return peaks

    def _look_at(self, pid: int) -> None:
        seen = self._alive.get(pid)
        try:
            if seen is None:
                node = self._node_of.get(Path(f"/proc/{pid}/ns/net").stat().st_ino)
                if node is None:
                    return
                seen = self._alive[pid] = Seen(node)
            name, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            fields = rest.split()
            seen.command, seen.parent = name.partition("(")[2], int(fields[_PARENT])
            seen.ticks = sum(map(int, fields[_TIMES]))
            if seen.started not in {0, int(fields[_STARTED])}:  # the pid is somebody else's now
                seen.peak_bytes = 0
            seen.started = int(fields[_STARTED])
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended just now
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                with suppress(ValueError):
                    seen.peak_bytes = int(line.split()[1]) * 1024
