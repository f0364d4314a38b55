"""Two agents on loopback: one that holds an image, and one that fetches it and is harmed meanwhile."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from dfedge.core.errors import AgentDown, DfedgeError
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join
from dfedge.node.client import Client

PATIENCE: Final = 60.0  # seconds that anything may take here
NAME: Final = "gateway-os"


class Broken(Exception):
    """A node did not keep what it promises."""


class Agent:
    """One node: where its state is, and its process while it runs."""

    def __init__(self, folder: Path, name: str, state: Path, peers: str = "") -> None:
        self.name = name
        self.state = state
        self.port = _free_port()
        self._runtime = folder / f"{name}.run"
        self._log = folder / f"{name}.log"
        self._folder = folder
        self._peers = peers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What its commands run with."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DFEDGE_", "NOTIFY_"))}
        return kept | {
            "DFEDGE_STATE_DIR": str(self.state),
            "DFEDGE_RUNTIME_DIR": str(self._runtime),
            "DFEDGE_CONFIG": str(self._folder / "dfedge.toml"),
            "DFEDGE_FLEET": str(self._folder / "fleet"),
            "DFEDGE_NODE_LISTEN": f"127.0.0.1:{self.port}",
            "DFEDGE_DISCOVERY_MDNS": "false",
            "DFEDGE_STORE_KEEP_FREE": "1 MiB",
        } | ({"DFEDGE_DISCOVERY_PEERS": self._peers} if self._peers else {})  # fmt: skip

    def start(self) -> float:
        """Start it; returns the seconds until it answered."""
        begun = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dfedge", "-v", "agent"], env=self.environ, stdout=log, stderr=log
            )
        while True:
            try:
                self.ask("status")
            except AgentDown:
                if time.monotonic() - begun > PATIENCE or self._process.poll() is not None:
                    raise Broken(f"{self.name} does not start:\n{self.said[-3000:]}") from None
                time.sleep(0.01)
            else:
                return time.monotonic() - begun

    def ask(self, verb: str, **params: Any) -> dict[str, Any]:
        """Have it do something. Raises the DfedgeError that it answers with."""
        with Client.connect(self._runtime) as client:
            return dict(client.call(verb, params))

    def wait_for_peer(self) -> None:
        """Wait until it is connected."""
        end = time.monotonic() + PATIENCE
        while not any(row["state"] == "connected" for row in self.ask("peers")["peers"]):
            if time.monotonic() > end:
                raise Broken(f"{self.name} finds no peer:\n{self.said[-3000:]}")
            time.sleep(0.02)

    def held(self) -> tuple[int, bool]:
        """How many bytes of the image it holds, and whether it shows it as complete."""
        for row in self.ask("ls")["images"]:
            if row["name"] == NAME:
                return row["have_bytes"], row["complete"]
        return 0, False

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(PATIENCE)
            self._process = None

    @property
    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class Pair:
    """The two agents and the image."""

    def __init__(self, folder: Path, state: Path, nbytes: int) -> None:
        self.nbytes = nbytes
        (folder / "dfedge.toml").touch()
        init_fleet(folder / "fleet", "faults")
        self.seed = Agent(folder, "seed", folder / "seed")
        self.board = Agent(folder, "board", state, f"127.0.0.1:{self.seed.port}")
        for agent in (self.seed, self.board):
            enroll(folder / "fleet", agent.name, {}, folder / f"enrolment-{agent.name}")
            join(folder / f"enrolment-{agent.name}", agent.state)
        self._source = folder / "image"
        self._source.write_bytes(os.urandom(nbytes))
        self.digest = hashlib.sha256(self._source.read_bytes()).hexdigest()

    def publish(self) -> None:
        """Start the seed, and have it hold the image."""
        self.seed.start()
        subprocess.run(
            [sys.executable, "-m", "dfedge", "publish", str(self._source), "--name", NAME, "--version", "1"],
            env=self.seed.environ, check=True, capture_output=True,
        )  # fmt: skip

    def get(self) -> dict[str, Any]:
        """Fetch the image at the board; returns what it says of it. Raises Broken where that is not so."""
        self.board.wait_for_peer()
        got = self.board.ask("get", ref=f"{NAME}:1", timeout=PATIENCE)
        if not self.is_right():
            raise Broken("a get ended well, and the file is wrong")
        if list((self.board.state / "partial").iterdir()):
            raise Broken("a get ended well, and left something in partial/")
        return got

    def is_right(self) -> bool:
        """Whether the complete file is what was published."""
        blob = self.board.state / "blobs" / "sha256" / self.digest
        return hashlib.sha256(blob.read_bytes()).hexdigest() == self.digest

    def forget(self) -> None:
        """Remove the image at the board, to fetch it again."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.board.ask("rm", ref=f"{NAME}:1")
            except DfedgeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End both."""
        for agent in (self.board, self.seed):
            agent.stop(signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
