"""libtorrent (Rasterbar) from PyPI: BitTorrent in C++, as most clients have it."""

import os
import subprocess
from pathlib import Path
from typing import ClassVar, Final

from board import promise

from bench import outfit, torrent
from bench.scenario import Scenario
from bench.stage import SEED, exit_code
from bench.system import System

PORT: Final = 6881
DRIVER: Final = Path(__file__).parents[1] / "libtorrent_node.py"


class Libtorrent(System):
    name: ClassVar = "libtorrent"
    words: ClassVar = (
        "PyPI's libtorrent, a small Python driver at each node; TCP in plaintext, v1 torrent of 256 KiB pieces with "
        "SHA-1, no DHT, all addresses given; sessions run before, the torrent is added with the clock; a "
        "node is done when its client has handed the last block to the system"
    )

    @classmethod
    def missing(cls, _scenario: Scenario) -> str:
        return outfit.package_missing("libtorrent")

    def prepare(self) -> None:
        stage = self.stage
        torrent.write(stage.image.path, stage.folder / "image.torrent")
        self._nodes: list[subprocess.Popen[str]] = []
        for node in range(stage.lan.nodes):
            save = stage.image.path.parent if node == SEED else stage.output(node).parent
            # Each pair is dialled from one side: two that dial each other at once may both hang up, for a minute.
            peers = [stage.lan.address(other) for other in range(node)]
            described = stage.folder / "image.torrent"
            argv: list[str | Path] = [outfit.python(), DRIVER, "tcp", described, save, str(PORT), *peers]
            self._nodes.append(stage.start(node, argv, stdin=subprocess.PIPE))
        stage.await_that(lambda: all(self._said(node, "ready") for node in range(stage.lan.nodes)), "libtorrent to run")
        self._tell(SEED)
        stage.await_that(lambda: self._said(SEED, "done"), "the seed to check its file")

    def go(self, taker: int) -> None:
        self._tell(taker)

    def done(self, taker: int) -> bool:
        return self._said(taker, "done")

    def _tell(self, node: int) -> None:
        stdin = self._nodes[node].stdin
        promise(stdin is not None, f"node {node}: no pipe")
        if stdin is not None:
            os.write(stdin.fileno(), b"go\n")

    def _said(self, node: int, word: str) -> bool:
        code = exit_code(self._nodes[node])
        promise(code is None, f"node {node}: libtorrent's driver ended with {code}: {self.stage.log(node)}")
        return (self.stage.at(node) / word).exists()
