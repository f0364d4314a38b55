"""One node: its folder, its agent, and its command line."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab import Lan

from board.promise import Broken, promise

DFEDGE: Final = str(Path(sys.executable).parent / "dfedge")
COMMAND_S: Final = 60.0  # no usual command that is asked takes longer


@dataclass(slots=True)
class Member:
    """Node `number` of the LAN. Everything of it is under `folder`."""

    lan: Lan
    number: int
    name: str
    folder: Path
    id: str = ""
    agent: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What keeps it apart from a dfedge of this machine."""
        return {
            "DFEDGE_CONFIG": str(self.folder.parent / "dfedge.toml"),
            "DFEDGE_FLEET": str(self.folder.parent / "fleet"),
            "DFEDGE_STATE_DIR": str(self.folder / "state"),
        }

    def ask(self, *arguments: str, seconds: float = COMMAND_S) -> dict[str, Any]:
        """Run a command at this node to its end and return its last JSON document. Raises Broken."""
        done = self.lan.run(self.number, [DFEDGE, *arguments, "--json"], self.environment, timeout=seconds)
        if done.returncode:
            raise Broken(
                f"{self.name}: dfedge {' '.join(arguments)} ended with {done.returncode}: {_first(done.stderr)}"
            )
        try:
            document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            raise Broken(f"{self.name}: dfedge {' '.join(arguments)} printed no JSON document") from None
        return document

    def start(self, command: Sequence[str] = (DFEDGE,)) -> None:
        """Start the agent, by another command for a debugger or a profiler; its log goes on in one file."""
        with (self.folder / "agent.log").open("a", encoding="utf-8") as log:
            self.agent = self.lan.popen(self.number, [*command, "agent"], self.environment, stdout=log, stderr=log)

    def await_peers(self, count: int, seconds: float) -> None:
        """Wait until the agent is connected with that many peers. Raises Broken."""
        deadline = time.monotonic() + seconds
        reached = 0
        while time.monotonic() < deadline:
            promise(self.agent is not None and self.agent.poll() is None, f"{self.name}: its agent ended; {self.log()}")
            try:
                peers = self.ask("peers")["peers"]
            except Broken:  # its control socket is not there yet
                peers = []
            reached = sum(peer["state"] == "connected" for peer in peers)
            if reached >= count:
                return
            time.sleep(0.1)
        raise Broken(f"{self.name}: {reached} of {count} peers after {seconds:.0f} s; {self.log()}")

    def kill(self) -> None:
        """End the agent as a power cut would: at once, with no chance to tidy up."""
        promise(self.agent is not None and self.agent.poll() is None, f"{self.name}: no agent to kill; {self.log()}")
        if self.agent is not None:
            self.agent.send_signal(signal.SIGKILL)
            self.agent.wait(COMMAND_S)

    def stop(self, seconds: float) -> None:
        """Wait for the agent to end cleanly after a SIGTERM it has had. Raises Broken if it does not."""
        if self.agent is None:
            return
        try:
            code = self.agent.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name}: its agent has not ended {seconds:.0f} s after SIGTERM; {self.log()}") from None
        promise(code in {0, 143}, f"{self.name}: its agent ended with {code} after SIGTERM; {self.log()}")

    def log(self) -> str:
        """The agent's last words."""
        try:
            lines = (self.folder / "agent.log").read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "it wrote no log"
        last = [line for line in lines if line.strip() and not line.startswith("  try: ")]
        return f"its log ends: {last[-1]}" if last else "its log is empty"


def _first(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "no message")
