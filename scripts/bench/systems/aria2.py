"""aria2: a small BitTorrent client in C++, with a tracker at the seed."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Final

from bench import outfit, torrent
from bench.scenario import Scenario
from bench.stage import SEED
from bench.system import System

TRACKER_PORT: Final = 6969
PEER_PORT: Final = 6881


class Aria2(System):
    name: ClassVar = "aria2"
    words: ClassVar = (
        "BitTorrent in plaintext, v1 torrent of 256 KiB pieces with SHA-1, a tracker at the seed that is asked each "
        "second, no DHT; the seed runs before, the takers' aria2c starts with the clock"
    )

    @classmethod
    def missing(cls, _scenario: Scenario) -> str:
        return outfit.command_missing("aria2c", "aria2")

    def prepare(self) -> None:
        stage = self.stage
        self._clients: dict[int, subprocess.Popen[str]] = {}
        self._torrent = stage.folder / "image.torrent"
        torrent.write(stage.image.path, self._torrent, f"http://{stage.lan.address(SEED)}:{TRACKER_PORT}/announce")
        self._hook = stage.folder / "hook"
        self._hook.write_text('#!/bin/sh\n: >"$(dirname "$3")/../done"\n', encoding="ascii")  # $3: the file
        self._hook.chmod(0o755)
        for taker in stage.scenario.numbers:
            stage.output(taker)
        heard = stage.at(SEED) / "heard"
        tracker: list[str | Path] = [sys.executable, "-m", "bench.tracker", str(TRACKER_PORT), heard]
        stage.start(SEED, tracker, {"PYTHONPATH": str(outfit.ROOT / "scripts")})
        stage.await_that(heard.exists, "the tracker to listen")
        self._start(SEED, stage.image.path.parent, "--check-integrity=true")
        stage.await_that(lambda: "seed" in heard.read_text(encoding="ascii"), "aria2 to check the seed's file")

    def go(self, taker: int) -> None:
        self._start(taker, self.stage.output(taker).parent, f"--on-bt-download-complete={self._hook}")

    def done(self, taker: int) -> bool:
        self.stage.succeeded(self._clients[taker], taker)
        return (self.stage.at(taker) / "done").exists()

    def _start(self, node: int, folder: Path, *options: str) -> None:
        argv = [
            "aria2c",
            "--no-conf",
            "--quiet",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--bt-tracker-interval=1",
            f"--listen-port={PEER_PORT}",
            "--file-allocation=none",
            "--seed-ratio=0",
            "--allow-overwrite=true",
            f"--dir={folder}",
            *options,
            str(self._torrent),
        ]
        self._clients[node] = self.stage.start(node, argv)
