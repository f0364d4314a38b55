"""One `dfedge get` while it runs: its JSON lines, read as they come."""

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from board import DFEDGE, Broken, Member


class Download:
    """A `dfedge get` at `member` into the file `output`. Fields are of its last line, read by a thread."""

    def __init__(self, member: Member, ref: str, output: Path) -> None:
        self.member = member
        self.output = output
        self.done = self.total = 0  # bytes
        self.rate = 0.0  # bytes/s
        self.peers = 0
        self.held_back = ""
        self.result: dict[str, Any] = {}
        self.seconds = 0.0  # from its start to its end, the start of Python included
        self._started = time.monotonic()
        self._errors = member.folder / "get.err"
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = member.lan.popen(
                member.number,
                [DFEDGE, "get", ref, "-o", str(output), "--json"],
                member.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._reader.is_alive()

    @property
    def share(self) -> float:
        """How much of it is here, 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def finish(self, seconds: float) -> dict[str, Any]:
        """Wait for its result. Raises Broken if it failed or takes longer."""
        if self.wait(seconds) != 0 or not self.result.get("ok"):
            said = self._errors.read_text(encoding="utf-8").strip().split("\n")[0]
            ended = self.member.agent is not None and self.member.agent.poll() is not None
            also = f"; its agent ended, {self.member.log()}" if ended else ""
            raise Broken(f"{self.member.name}: dfedge get failed: {said or self.result.get('error')}{also}")
        return self.result

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code. Raises Broken if it takes longer."""
        self._reader.join(seconds)
        try:
            return self._process.wait(0 if self.running else 5)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.member.name}: dfedge get is at {self.share:.0%} after {seconds:.0f} s") from None

    def _read(self) -> None:
        for line in self._process.stdout or ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self.done = event.get("bytes_done", self.done)
            self.total = event.get("bytes_total", self.total)
            self.rate = event.get("rate") or 0.0
            self.held_back = event.get("held_back") or ""
            match event.get("type"):
                case "progress":
                    self.peers = sum((peer.get("rate") or 0) > 0 for peer in event.get("peers", ()))
                case "result":
                    self.result = event
                    self.done = self.total if event.get("ok") else self.done
        self._process.wait()
        self.seconds = time.monotonic() - self._started
