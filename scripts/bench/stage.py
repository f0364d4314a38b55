"""Where one run of one system happens: its LAN, its folder, the image, its processes."""

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from board import promise
from lab import Lan

from bench.meter import Meter
from bench.scenario import MIB, Scenario

SEED: Final = 0  # its node number
READY_S: Final = 120.0  # what anything may take before the clock
IMAGE_NAME: Final = "image.bin"


@dataclass(frozen=True, slots=True)
class Image:
    """The file all systems distribute."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def make(cls, folder: Path, size: int) -> "Image":
        """Write a file of random bytes: nothing in it can be compressed or left out."""
        path, digest, left = folder / IMAGE_NAME, hashlib.sha256(), size
        with path.open("wb") as file:
            while left:
                block = os.urandom(min(left, 4 * MIB))
                digest.update(block)
                file.write(block)
                left -= len(block)
        return cls(path, size, digest.hexdigest())


@dataclass(slots=True)
class Stage:
    """Given to a system for one run. Everything it makes goes into `folder`, everything it starts through `start`."""

    lan: Lan
    scenario: Scenario
    image: Image
    folder: Path
    meter: Meter
    profile: Path | None = None  # where profiles go, if wanted
    _logs: dict[int, Path] = field(default_factory=dict)

    def at(self, node: int) -> Path:
        """A node's own folder."""
        folder = self.folder / f"node{node}"
        folder.mkdir(exist_ok=True)
        return folder

    def output(self, taker: int) -> Path:
        """Where the taker's copy must be in the end."""
        folder = self.at(taker) / "out"
        folder.mkdir(exist_ok=True)
        return folder / IMAGE_NAME

    def start(
        self,
        node: int,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a process at a node; what it says goes into the node's log, or its stdout into a file of its own."""
        log = self.at(node) / "log"
        with log.open("a", encoding="utf-8") as said, (stdout or log).open("a", encoding="utf-8") as out:
            process = self.lan.popen(
                node, [str(word) for word in argv], env, cwd=self.at(node), stdin=stdin, stdout=out, stderr=said
            )
        self.meter.add(process.pid, node)
        return process

    def log(self, node: int) -> str:
        """The last line the node's processes have said."""
        path = self.at(node) / "log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def succeeded(self, process: subprocess.Popen[str], node: int) -> bool:
        """Whether it has ended well; false while it runs. Raises Broken if it failed.

        It is not collected: what it has used must still be there to be read.
        """
        code = exit_code(process)
        promise(code in {None, 0}, f"node {node}: a process ended with {code}: {self.log(node)}")
        return code == 0

    def await_that(self, holds: Callable[[], bool], what: str, seconds: float = READY_S) -> None:
        """Wait before the clock. Raises Broken after `seconds`."""
        deadline = time.monotonic() + seconds
        while not holds():
            promise(time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}")
            time.sleep(0.05)


def exit_code(process: subprocess.Popen[str]) -> int | None:
    """How a process ended, without collecting it; None while it runs."""
    if process.returncode is not None:
        return process.returncode
    state = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if state is None or state.si_pid == 0:
        return None
    return state.si_status if state.si_code == os.CLD_EXITED else 128 + state.si_status
