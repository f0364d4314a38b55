"""Whole agents on a disk that fails under them: they say why, serve what they have, and go on by themselves.

What a user loses if one fails: a node that must be restarted, or replaced, because its card had a bad minute.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleet import Board, Fleet, until

from dfedge.core.errors import DfedgeError
from dfedge.node.client import Client

from .faulty import Plan, has_fired, write_plan
from .recorder import available

TESTS = Path(__file__).parents[1]
MIB = 1024 * 1024
CODES = {"ENOSPC": "no_space", "EDQUOT": "no_space", "EIO": "corrupt", "EROFS": "corrupt", "EMFILE": "busy"}


class Two:
    """A seed that holds `new` and `old`, and a node whose disk can be made to fail; it holds `old`."""

    def __init__(self, folder: Path, nbytes: int) -> None:
        self.plan = folder / "plan.json"
        write_plan(self.plan, None)
        self.fleet = Fleet(folder)
        self.seed, self.board = self.fleet.board(), self.fleet.board()
        self.digests = {}
        self.seed.start()
        for name, size in (("new", nbytes), ("old", MIB)):
            source = folder / name
            source.write_bytes(os.urandom(size))
            self.digests[name] = hashlib.sha256(source.read_bytes()).hexdigest()
            self.seed.ask("publish", str(source), "--name", name, "--version", "1")
        self.start()
        self.ask("get", ref="old:1")

    def start(self) -> None:
        environ = self.board.environ | {"PLAN": str(self.plan), "FOLDER": str(self.board.state)}
        command = [sys.executable, "-m", "crash.faulty", "-v", "agent"]
        with self.board.log.open("a") as log:
            self.board.process = subprocess.Popen(
                command, cwd=TESTS, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )
        until(self.board._answers, "the faulty agent to answer")
        until(lambda: "node-0" in self.board.connected(), "it to be connected")

    def ask(self, verb: str, **params: Any) -> dict[str, Any]:
        with Client.connect(self.board.state / "run") as client:
            return dict(client.call(verb, params))

    def try_get(self) -> str:
        """Get `new`; returns the error's code, or nothing."""
        code = ""
        try:
            self.ask("get", ref="new:1", timeout=20)
        except DfedgeError as error:
            code = error.code
        self.nothing_wrong()
        assert not code or self.ask("status")["degraded"], "the disk failed, and status says nothing"
        return code

    def nothing_wrong(self) -> None:
        for row in self.ask("ls")["images"]:
            if row["complete"]:
                blob = self.board.state / "blobs/sha256" / self.digests[row["name"]]
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == self.digests[row["name"]]
        assert "Traceback" not in self.board.said, self.board.said[-4000:]

    def resumes(self) -> None:
        """The disk is well: so is the node, and the same command goes on."""
        assert self.try_get() == ""
        until(lambda: self.ask("status")["degraded"] is None, "the node to be well again")
        assert not list((self.board.state / "partial").iterdir())

    def fails_at(self, plan: Plan) -> bool:
        """Make the disk fail while `new` is fetched, and then not; returns whether that call came."""
        write_plan(self.plan, plan)
        code = self.try_get()
        assert code in ("", CODES.get(plan.error, ""), "corrupt"), f"{plan}: {code}"
        fired = has_fired(self.plan)
        write_plan(self.plan, None)
        self.resumes()
        self.ask("rm", ref="new:1")
        return fired


@contextmanager
def two(folder: Path, nbytes: int) -> Iterator[Two]:
    nodes = Two(folder, nbytes)
    try:
        yield nodes
    finally:
        nodes.fleet.stop()


def test_an_agent_whose_disk_fails_says_why_and_goes_on_when_it_is_well(tmp_path: Path) -> None:
    with two(tmp_path, 2 * MIB) as nodes:
        for plan in (
            Plan("write", 5, "ENOSPC", True),
            Plan("write", 5, "EIO", False),
            Plan("write", 4, "EROFS", True),
            Plan("write", 3, "SHORT", True),
            Plan("fsync", 1, "EIO", True),
            Plan("fsync", 6, "EIO", False),
            Plan("rename", 2, "EROFS", True),
            Plan("fallocate", 1, "EDQUOT", True),
            Plan("open", 2, "EMFILE", True),
            Plan("close", 4, "EIO", True),
        ):
            assert nodes.fails_at(plan), f"{plan} never came"


def test_a_node_whose_disk_takes_no_writes_serves_what_it_has(tmp_path: Path) -> None:
    with two(tmp_path, MIB) as nodes:
        nodes.seed.ask("rm", "old:1")
        for kind in ("write", "fsync"):
            write_plan(nodes.plan, Plan(kind, 1, "EIO", True))
            assert nodes.try_get() == "corrupt"
            assert "input/output error" in nodes.ask("status")["degraded"]
            out = tmp_path / "out"
            nodes.seed.ask("get", "old:1", "-o", str(out), "--force")
            assert hashlib.sha256(out.read_bytes()).hexdigest() == nodes.digests["old"]
            nodes.seed.ask("rm", "old:1")
        write_plan(nodes.plan, None)
        nodes.resumes()


@contextmanager
def injected(board: Board, *faults: str) -> Iterator[None]:
    """Have the kernel answer a running agent's calls with errors, SQLite's among them."""
    assert board.process is not None
    options = [word for fault in faults for word in ("-e", f"inject={fault}")]
    with subprocess.Popen(
        ["strace", "-f", "-p", str(board.process.pid), "-o", "/dev/null", *options], stderr=subprocess.PIPE, text=True
    ) as strace:
        try:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            yield
        finally:
            strace.terminate()


@pytest.mark.skipif(bool(available()), reason=available() or "-")
@pytest.mark.parametrize(
    ("calls", "error", "code"),
    [("fsync,fdatasync", "EIO", "corrupt"), ("pwrite64,pwritev2,fallocate,ftruncate,rename", "ENOSPC", "no_space")],
)
def test_errors_from_the_kernel_itself_are_ridden_out_too(tmp_path: Path, calls: str, error: str, code: str) -> None:
    with two(tmp_path, 2 * MIB) as nodes:
        with injected(nodes.board, f"{calls}:error={error}"):
            assert nodes.try_get() == code
        nodes.resumes()
        assert nodes.ask("verify")["bad"] == 0


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("write", "ENOSPC"), ("write", "EDQUOT"), ("write", "EIO"), ("write", "EROFS"), ("write", "SHORT"),
        ("fsync", "EIO"), ("fsync", "ENOSPC"), ("rename", "EIO"), ("rename", "ENOSPC"), ("rename", "EROFS"),
        ("fallocate", "ENOSPC"), ("fallocate", "EDQUOT"), ("close", "EIO"), ("open", "EMFILE"), ("open", "EIO"),
    ],
)  # fmt: skip
def test_every_call_of_a_get_of_16_mib_may_fail(tmp_path: Path, kind: str, error: str, for_good: bool) -> None:
    with two(tmp_path, 16 * MIB) as nodes:
        number = 1
        while nodes.fails_at(Plan(kind, number, error, for_good)):
            number += 1
        assert number > 1
