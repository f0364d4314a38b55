"""dfedge itself: agents that run and know each other; the clock starts with the command `dfedge get`."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from board import DFEDGE, Broken, Member, promise

from bench.stage import READY_S, SEED
from bench.system import System
from dfedge.jobs.enroll import enroll
from dfedge.jobs.join import join

REF: Final = "bench:1"
MESH: Final = 20  # connections a node dials for; in a fleet of up to that many everybody knows everybody
ENOUGH: Final = 8  # peers to begin with in a larger one; who holds the image it finds out by itself


class Dfedge(System):
    name: ClassVar = "dfedge"
    words: ClassVar = (
        "mDNS, SSH with certificates, SHA-256 of every piece; agents run and are connected before. The time is that of "
        "the command `dfedge get`, whose own start is in it, until the image is proven and synced in the node's store"
    )
    writes_a_file: ClassVar = False

    def prepare(self) -> None:
        stage = self.stage
        (stage.folder / "dfedge.toml").touch()
        self._members = [Member(stage.lan, node, f"node-{node}", stage.at(node)) for node in range(stage.lan.nodes)]
        self._gets: dict[int, subprocess.Popen[str]] = {}
        self._enrol()
        for member in self._members:
            profiled = stage.profile is not None and member.number in {SEED, 1}
            member.start(self._profiler(member.number) if profiled else (DFEDGE,))
            promise(member.agent is not None, f"{member.name}: not started")
            if member.agent is not None:
                stage.meter.add(member.agent.pid, member.number)
        others = len(self._members) - 1
        for member in self._members:
            member.await_peers(others if others <= MESH else ENOUGH, READY_S)
        published = self._members[SEED].ask("publish", str(stage.image.path), "--name", "bench", "--version", "1")
        self._pieces = int(published["pieces"])
        for member in self._members[1:] if others <= MESH else ():
            stage.await_that(partial(self._knows, member), f"{member.name} to hear of the image")

    def go(self, taker: int) -> None:
        member = self._members[taker]
        self._gets[taker] = self.stage.start(
            taker,
            [DFEDGE, "get", REF, *(("-o", self.stage.output(taker)) if self.writes_a_file else ()), "--json"],
            member.environment,
            stdout=self._document(taker),
        )

    def done(self, taker: int) -> bool:
        return self.stage.succeeded(self._gets[taker], taker)

    def copy(self, taker: int) -> Path:
        path = self.stage.output(taker)
        if not self.writes_a_file:
            self._members[taker].ask("get", REF, "-o", str(path))
        return path

    def facts(self) -> dict[str, Any]:
        results = [self._result(taker) for taker in self._gets]
        seed = self._members[SEED].id
        from_seed = sum(peer["bytes"] for result in results for peer in result.get("peers", ()) if peer["id"] == seed)
        fetched = sum(result.get("bytes_fetched", 0) for result in results)
        wasted = sum(result.get("bytes_wasted", 0) for result in results)
        return {
            "pieces": self._pieces,
            "seed_payload": from_seed,
            "connections": [self._connections(member) for member in self._members],
            "log_errors": sum(map(_errors, self._members)),
            "wasted_share": wasted / fetched if fetched else 0.0,
            "commands_cpu_s": sum(self.stage.meter.cpu_of(get.pid) for get in self._gets.values()),
            "own_seconds": [result.get("seconds") for result in results],
        }

    def end_profiled(self) -> None:
        """End the profiled agents so that they write what they know."""
        for member in self._members[:2]:
            if member.agent is not None:
                member.agent.terminate()
        for member in self._members[:2]:
            member.stop(30.0)

    def _enrol(self) -> None:
        folder, first = self.stage.folder, self._members[SEED]
        first.ask("fleet", "init", str(folder / "fleet"))
        for member in self._members:  # by their functions: two commands for each of 60 nodes take a minute
            enrolment = folder / f"enrol-{member.name}"
            member.id = enroll(folder / "fleet", member.name, {}, enrolment).id
            join(enrolment, member.folder / "state")

    def _knows(self, member: Member) -> bool:
        try:
            return bool(member.ask("where", REF))
        except Broken:
            return False

    def _connections(self, member: Member) -> int | None:
        """How many peers it is connected with; None if its agent was killed."""
        try:
            peers = member.ask("peers")["peers"]
        except Broken:
            return None
        return len([peer for peer in peers if peer["state"] == "connected"])

    def _document(self, taker: int) -> Path:
        return self.stage.at(taker) / "get.json"

    def _result(self, taker: int) -> dict[str, Any]:
        for line in reversed(self._document(taker).read_text(encoding="utf-8").splitlines()):
            document: dict[str, Any] = json.loads(line)
            if document.get("type", "result") == "result":
                return document
        return {}

    def _profiler(self, node: int) -> tuple[str, ...]:
        out = str(self.stage.profile and self.stage.profile / f"node{node}.profile")
        return (sys.executable, "-m", "cProfile", "-o", out, "-m", "dfedge")


class DfedgeToFile(Dfedge):
    name: ClassVar = "dfedge-o"
    words: ClassVar = "the same with `-o FILE`: a second copy is written and synced, where the disk can't share blocks"
    writes_a_file: ClassVar = True


def _errors(member: Member) -> int:
    """Lines of an agent's log that nobody should see in a run that went well."""
    lines = (member.folder / "agent.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(" ERROR " in line or line.startswith("Traceback") for line in lines)
