"""What goes over each node's cable while a run lasts, without starting a process for each look."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from board import promise
from lab import Lan

_RX, _TX = 0, 8  # bytes, among the numbers after "eth0:" in /proc/net/dev
_MOST: Final = 4096  # bytes; two interfaces take 500
_READY_S: Final = 10.0


class Wire:
    """Reads the counters of all nodes. A sleeping process in each namespace lends us its /proc/PID/net."""

    def __init__(self, lan: Lan, on_start: Callable[[int], None]) -> None:
        """`on_start` is told the pid of each process that only serves the measurement."""
        self._files: list[int] = []  # descriptors
        sleepers = [lan.popen(node, ["sleep", "86400"], stdout=subprocess.DEVNULL) for node in range(lan.nodes)]
        for sleeper in sleepers:
            on_start(sleeper.pid)
            _await_command(sleeper.pid, "sleep")  # until then it is still in our own namespace
            self._files.append(os.open(f"/proc/{sleeper.pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        for file in self._files:
            os.close(file)

    def sent(self, node: int) -> int:
        """Bytes a node has sent since its cable was plugged in, Ethernet headers included."""
        return self._read(node)[_TX]

    def received(self, node: int) -> int:
        return self._read(node)[_RX]

    def _read(self, node: int) -> list[int]:
        text = os.pread(self._files[node], _MOST, 0).decode("ascii")
        [line] = [line for line in text.splitlines() if line.lstrip().startswith("eth0:")]
        return [int(word) for word in line.partition(":")[2].split()]


def _await_command(pid: int, command: str) -> None:
    deadline = time.monotonic() + _READY_S
    while Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() != command:
        promise(time.monotonic() < deadline, f"process {pid} has not become {command} in {_READY_S:g} s")
        time.sleep(0.001)
