"""Whose transfers a situation has on node 0's link: dfedge's. `bench.utp` has the same of libtorrent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from board import DFEDGE, Broken, Member
from lab import Lan

from bench.meter import TICK_S
from bench.scenario import MIB
from bench.situation import LINK, Situation
from bench.stage import Image
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join


class Guest(Protocol):
    """Who uses the link, and gives way or not. Node 0 is behind it, nodes from 1 on are its peers."""

    def prepare(self) -> None:
        """Have all run, with the images where they come from. Raises Broken, LabError."""
        ...

    def begin(self) -> None:
        """Let every transfer of the situation begin."""
        ...

    def sent(self) -> dict[str, int]:
        """Bytes that node 0 has sent to each peer, as far as it tells."""
        ...

    def cpu_s(self) -> float:
        """Seconds of CPU that node 0's process has used."""
        ...

    def reason(self) -> str:
        """Why node 0 is as fast as it is, if it says so."""
        ...

    def log(self) -> str:
        """The last that node 0 has said."""
        ...


def image(folder: Path, situation: Situation) -> Image:
    """A file that lasts longer than the situation."""
    folder.mkdir()
    mbit = min(LINK, situation.cap_mbit or LINK)
    return Image.make(folder, max(8 * MIB, int(1.1 * situation.seconds * mbit * 125_000)))


def node_folder(folder: Path, node: int) -> Path:
    """A node's own folder."""
    own = folder / f"node{node}"
    own.mkdir(exist_ok=True)
    return own


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


class Dfedge:
    """Agents that know node 0 and are known by it; it has the settings of `environment`."""

    def __init__(self, lan: Lan, folder: Path, situation: Situation, environment: Mapping[str, str]) -> None:
        self._lan, self._folder, self._situation = lan, folder, situation
        self._environment = dict(environment)
        self._members = [
            Member(lan, node, f"node-{node}", node_folder(folder, node)) for node in range(situation.peers + 1)
        ]

    def prepare(self) -> None:
        (self._folder / "dfedge.toml").touch()
        init_fleet(self._folder / "fleet", "bench")
        for member in self._members:
            enrolment = self._folder / f"enrol-{member.name}"
            enroll(self._folder / "fleet", member.name, {}, enrolment)
            join(enrolment, member.folder / "state")
        for member in self._members[1:]:
            member.start()
        listed = ",".join(f"{self._lan.address(member.number)}:7411" for member in self._members[1:])
        self._environment["DFEDGE_DISCOVERY_PEERS"] = listed
        command = ("env", *(f"{key}={value}" for key, value in self._environment.items()), DFEDGE)
        self._members[0].start(command)
        self._members[0].await_peers(len(self._members) - 1, 60)
        if "down" in self._situation.ours:
            self._publish(self._members[1], "down")
            for member in self._members[2:]:
                member.ask("get", "down:1")
        if "up" in self._situation.ours:
            self._publish(self._members[0], "up")

    def _publish(self, member: Member, name: str) -> None:
        path = image(self._folder / name, self._situation).path
        member.ask("publish", str(path), "--name", name, "--version", "1")
        path.unlink()

    def begin(self) -> None:
        for way in self._situation.ours:
            for member in self._members[:1] if way == "down" else self._members[1:]:
                with (member.folder / f"get-{way}").open("w", encoding="utf-8") as log:
                    get = [DFEDGE, "get", f"{way}:1"]
                    self._lan.popen(member.number, get, member.environment, stdout=log, stderr=log)

    def sent(self) -> dict[str, int]:
        return {peer["name"]: int(peer["bytes_up"]) for peer in self._members[0].ask("peers")["peers"]}

    def cpu_s(self) -> float:
        agent = self._members[0].agent
        return cpu_of(agent.pid) if agent is not None else 0.0  # `env` has become dfedge

    def reason(self) -> str:
        try:
            return str(self._members[0].ask("status")["throttle"]["reason"])
        except Broken:
            return ""

    def log(self) -> str:
        return self._members[0].log()
