"""libtorrent over uTP (BEP 29, LEDBAT) in dfedge's place: it gives way to other flows by the delay on the path."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from board import promise
from lab import Lan

from bench import outfit, torrent
from bench.guest import cpu_of, image, node_folder
from bench.situation import Situation
from bench.systems.libtorrent import DRIVER, PORT

READY_S: Final = 60.0


class Utp:
    """libtorrent's sessions, TCP switched off; whoever has the file checks it before the clock."""

    def __init__(self, lan: Lan, folder: Path, situation: Situation) -> None:
        promise(len(situation.ours) == 1 and situation.cap_mbit is None, "one way at a time, and no cap")
        self._lan, self._folder, self._situation = lan, folder, situation
        self._nodes: list[subprocess.Popen[str]] = []

    def prepare(self) -> None:
        promise(not (reason := outfit.package_missing("libtorrent")), reason)
        whole = image(self._folder / "image", self._situation).path
        described = self._folder / "image.torrent"
        torrent.write(whole, described)
        for node in range(self._situation.peers + 1):
            own = node_folder(self._folder, node)
            save = whole.parent if self._has_it(node) else own / "out"
            save.mkdir(exist_ok=True)
            peers = [self._lan.address(0)] if node else []
            argv = [outfit.python(), str(DRIVER), "utp", str(described), str(save), str(PORT), *peers]
            with (own / "log").open("w", encoding="utf-8") as log:
                self._nodes.append(self._lan.popen(node, argv, cwd=own, stdin=subprocess.PIPE, stdout=log, stderr=log))
        holders = [node for node in range(len(self._nodes)) if self._has_it(node)]
        self._await_word("ready", range(len(self._nodes)))
        for node in holders:
            self._go(node)
        self._await_word("done", holders)

    def begin(self) -> None:
        for node in range(len(self._nodes)):
            if not self._has_it(node):
                self._go(node)

    def _has_it(self, node: int) -> bool:
        return (node == 0) == (self._situation.ours == ("up",))

    def _go(self, node: int) -> None:
        stdin = self._nodes[node].stdin
        if stdin is not None:
            os.write(stdin.fileno(), b"go\n")

    def _await_word(self, word: str, nodes: "range | list[int]") -> None:
        deadline = time.monotonic() + READY_S
        while not all((node_folder(self._folder, node) / word).exists() for node in nodes):
            promise(time.monotonic() < deadline, f"libtorrent does not say {word}: {self.log()}")
            time.sleep(0.05)

    def sent(self) -> dict[str, int]:
        return {}

    def cpu_s(self) -> float:
        return cpu_of(self._nodes[0].pid)

    def reason(self) -> str:
        return ""

    def log(self) -> str:
        lines = (node_folder(self._folder, 0) / "log").read_text(encoding="utf-8").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
