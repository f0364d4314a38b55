"""The walk-through in the README, word by word: three boards, real agents, a private LAN."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from lab import Lan

pytestmark = pytest.mark.netns

README: Final = Path(__file__).parents[2] / "README.md"
BOARDS: Final = ("board-1", "board-2", "board-3")
PATIENCE_S: Final = 60.0
CARRY: Final = """#!/bin/sh
# Stands for scp: the boards of this test share a disk.
set -e
test "$1" = -r
cp -r "$2" "$BOARDS/${3%%:*}/${3#*:}"
"""


def _steps() -> Iterator[tuple[str, str]]:
    """The blocks of the walk-through in order: who types, and what."""
    _, _, section = README.read_text(encoding="utf-8").partition("## Three boards by hand")
    for match in re.finditer(r"^```sh ([a-z0-9-]+)\n(.*?)^```$", section.partition("\n## ")[0], re.DOTALL | re.M):
        yield match[1], match[2]


class Walk:
    """Three boards in a LAN, each with a home folder of its own."""

    def __init__(self, lan: Lan, homes: Path) -> None:
        self.lan = lan
        self.homes = homes
        tools = homes / "tools"
        tools.mkdir()
        (tools / "scp").write_text(CARRY, encoding="utf-8")
        (tools / "scp").chmod(0o755)
        self._path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        (homes / "dfedge.toml").touch()
        for board in BOARDS:
            (homes / board).mkdir()

    def environment(self, board: int) -> dict[str, str]:
        home = self.homes / BOARDS[board]
        return {
            "HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "", "PATH": self._path,
            "BOARDS": str(self.homes),
            "DFEDGE_CONFIG": str(self.homes / "dfedge.toml"),  # not this machine's
            "DFEDGE_STATE_DIR": str(home / "state"),  # root's default would be one for all three
        }  # fmt: skip

    def type(self, board: int, text: str) -> subprocess.Popen[str]:
        """Type a block into the shell of a board."""
        return self.lan.popen(
            board,
            ["sh", "-ec", text],
            self.environment(board),
            cwd=self.homes / BOARDS[board],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def await_all_connected(self) -> None:
        """Wait until every board is connected with the other two."""
        deadline = time.monotonic() + PATIENCE_S
        waiting = set(range(len(BOARDS)))
        while waiting:
            assert time.monotonic() < deadline, f"boards without two peers: {waiting}"
            for board in tuple(waiting):
                asked = self.type(board, "dfedge peers --json")
                said, _ = asked.communicate(timeout=PATIENCE_S)
                states = [peer["state"] for peer in json.loads(said)["peers"]] if asked.returncode == 0 else []
                if states.count("connected") == len(BOARDS) - 1:
                    waiting.discard(board)
            time.sleep(0.1)


def test_a_stranger_with_the_readme_and_three_boards_gets_there(tmp_path: Path) -> None:
    with Lan("readme", len(BOARDS), 100.0) as lan:
        walk = Walk(lan, tmp_path)
        agents: list[subprocess.Popen[str]] = []
        outputs: list[str] = []
        for who, text in _steps():
            if who == "agents":
                for board in range(len(BOARDS)):
                    with (tmp_path / f"agent-{board}.log").open("w", encoding="utf-8") as log:
                        command = ["sh", "-ec", f"exec {text.strip()}"]
                        agents.append(lan.popen(board, command, walk.environment(board), stdout=log, stderr=log))
                walk.await_all_connected()
                continue
            boards = {"board-1": [0], "carry": [0], "boards": [0, 1, 2], "others": [1, 2]}[who]
            for typed in [walk.type(board, text) for board in boards]:
                said, _ = typed.communicate(timeout=PATIENCE_S)
                assert typed.returncode == 0, f"{who}: {text}{said}"
                outputs.append(said)
        assert all(board in outputs[-1] for board in BOARDS), f"dfedge where does not name all boards:\n{outputs[-1]}"
        digests = {_sha256(tmp_path / board / "firmware.img") for board in BOARDS}
        assert len(digests) == 1
        assert all(agent.poll() is None for agent in agents)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
