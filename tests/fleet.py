"""A fleet for tests: real enrolments, real agents in processes of their own, on loopback or in the lab's namespaces."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import lab

from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join

PATIENCE: Final = 30.0  # seconds that anything may take here


def free_port() -> int:
    """A TCP port that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; a test that waits in vain says for what."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for: {what}"
        time.sleep(0.05)


class Board:
    """One node: its state folder, and its agent while it runs."""

    def __init__(self, fleet: "Fleet", name: str, port: int, lan: "lab.Lan | None", index: int) -> None:
        self.fleet = fleet
        self.name = name
        self.port = port
        self.state = fleet.folder / "state" / name
        self.log = fleet.folder / f"{name}.log"
        self.peers: list[str] = []
        self.settings: dict[str, str] = {}
        self.under: list[str] = []  # what its agent is started by
        self.process: subprocess.Popen[str] | None = None
        self._lan = lan
        self._index = index

    @property
    def environ(self) -> dict[str, str]:
        """What its commands run with."""
        settings = {
            "DFEDGE_STATE_DIR": str(self.state),
            "DFEDGE_CONFIG": str(self.fleet.settings),
            "DFEDGE_FLEET": str(self.fleet.operator),
            "DFEDGE_STORE_KEEP_FREE": "1 MiB",
            "DFEDGE_THROTTLE_PROFILE": "full",  # caps hold, but what else this host does is not for tests
            "DFEDGE_DISCOVERY_MDNS": "true" if self._lan else "false",
        }
        if not self._lan:
            settings["DFEDGE_NODE_LISTEN"] = f"127.0.0.1:{self.port}"
        if self.peers:
            settings["DFEDGE_DISCOVERY_PEERS"] = ",".join(self.peers)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DFEDGE_", "NOTIFY_"))}
        return {**kept, **settings, **self.settings, "PYTHONWARNINGS": "default"}

    def popen(self, argv: Sequence[str], stdout: IO[str] | int, stderr: IO[str] | int) -> subprocess.Popen[str]:
        """Start one of its commands."""
        under = self.under if argv[-1:] == ["agent"] else []
        full = [*under, sys.executable, "-m", "dfedge", *argv]
        if self._lan is not None:
            return self._lan.popen(self._index, full, env=self.environ, stdout=stdout, stderr=stderr)
        return subprocess.Popen(
            full, env=self.environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True
        )

    def start(self) -> "Board":
        """Start its agent and wait until it answers."""
        with self.log.open("a") as log:
            self.process = self.popen(["-v", "agent"], log, log)
        until(self._answers, f"the agent of {self.name} to answer; its log: {self.log.read_text()[-2000:]}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the agent of {self.name} ended:\n{self.log.read_text()[-3000:]}"
        return self.run("status", "--json").returncode == 0

    def run(self, *argv: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to the end."""
        process = self.popen(argv, subprocess.PIPE, subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"dfedge {' '.join(argv)} took over {timeout:.0f} s: {err[-2000:]}") from None
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def ask(self, *argv: str, timeout: float = 60.0) -> dict[str, Any]:
        """Run a command with --json that must succeed; returns its last document."""
        done = self.run(*argv, "--json", timeout=timeout)
        assert done.returncode == 0, f"dfedge {' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return document

    def connected(self) -> set[str]:
        """The names of the peers it is connected to."""
        return {row["name"] for row in self.ask("peers")["peers"] if row["state"] in ("connected", "snubbed")}

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """Stop its agent; returns the exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(sign)
        return process.wait(PATIENCE)

    @property
    def said(self) -> str:
        """Its agent's log."""
        return self.log.read_text() if self.log.exists() else ""


class Fleet:
    """An operator's folder and the boards enrolled by it."""

    def __init__(self, folder: Path, lan: "lab.Lan | None" = None) -> None:
        self.folder = folder
        self.operator = folder / "fleet"
        self.lan = lan
        self.boards: list[Board] = []
        self.settings = folder / "dfedge.toml"  # an empty one: what this host has set is not for tests
        self.settings.touch()
        init_fleet(self.operator, "test")

    def board(self, name: str | None = None, state: Path | None = None) -> Board:
        """Enroll a node and let it join; `state` is its folder if it is not to be among ours."""
        index = len(self.boards)
        name = name or f"node-{index}"
        enrolment = self.folder / "enrolments" / name
        enrolment.parent.mkdir(exist_ok=True)
        enroll(self.operator, name, {}, enrolment)
        board = Board(self, name, 7411 if self.lan else free_port(), self.lan, index)
        board.state = state or board.state
        join(enrolment, board.state)
        if not self.lan and self.boards:
            board.peers = [f"127.0.0.1:{other.port}" for other in self.boards]
        self.boards.append(board)
        return board

    def stop(self) -> None:
        """End every agent that still runs."""
        for board in self.boards:
            if board.process is not None:
                board.stop(signal.SIGKILL)


def _is_connected(board: Board, count: int) -> bool:
    return len(board.connected()) >= count


@contextmanager
def fleet_of(folder: Path, count: int, lan: "lab.Lan | None" = None) -> Iterator[list[Board]]:
    """Boards with running agents, all connected to all; on loopback they know the earlier ones by address."""
    fleet = Fleet(folder, lan)
    try:
        boards = [fleet.board() for _ in range(count)]
        for board in boards:
            board.start()
        for board in boards:
            until(partial(_is_connected, board, count - 1), f"{board.name} to be connected to all")
        yield boards
    finally:
        fleet.stop()
