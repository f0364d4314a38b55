"""A host behind plain SSH that is a dictionary: what `fleet deploy` would run there is answered from its fields."""

import base64
import hashlib
import io
import json
import shlex
import tempfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from dfedge.core.errors import DfedgeError
from dfedge.jobs.destination import Destination
from dfedge.jobs.join import join, make_key
from dfedge.jobs.probe import PROBE


@dataclass(frozen=True)
class Ran:
    code: int = 0
    out: bytes = b""
    err: bytes = b""


@dataclass
class FakeHost:
    """One host. `folder` is its disk; `said` is all that was asked of it, by its first words."""

    folder: Path
    python: str = "3.11.2 64 glibc"
    machine: str = "x86_64"
    nodename: str = "raspberrypi"
    uid: int = 0
    service: bool = True
    systemd: bool = False
    lingers: bool = False  # the services of its user
    starts: bool = True  # what `service install` installs
    degraded: str | None = None
    sudo: Ran = field(default_factory=Ran)
    breaks_at: str = ""  # a step at which the line breaks
    pyz: bytes | None = None
    installed: str = ""  # the version of the service
    refuses: bytes = b""  # a file with which the service is not healthy
    runs: str | None = None  # the node id of the agent that runs
    days: int = 0  # of its certificates
    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    async def run(self, command: str, data: bytes = b"", timeout: float = 30.0) -> Ran:
        words = shlex.split(command)
        await anyio.lowlevel.checkpoint()
        if words[:2] == ["sudo", "-n"]:
            if words[2:] == ["true"]:
                return self.sudo
            words = words[3:]
        assert words[:2] == ["sh", "-c"]
        if words[2] == PROBE:
            python = f"\npython {self.python}" if self.python else ""
            facts = (
                f"uid {self.uid}\nuser pi\nhome /home/pi\nnodename {self.nodename}\nmachine {self.machine}{python}\n"
            )
            return Ran(out=facts.encode())
        return self._step(words[2], data)

    def _step(self, script: str, data: bytes) -> Ran:
        words = shlex.split(script)
        if words[:2] == ["test", "-e"]:
            return Ran(0 if self.lingers else 1)
        if words[0] == "test":
            self.said.append("read")
            path = Path(words[3])
            return Ran(out=path.read_bytes() if path.exists() else b"")
        if words[0] == "systemctl":
            self.said.append("restart")
            self.days = 0 if self.systemd else self.days
            return Ran(0 if self.systemd else 3)
        assert words[:2] == ["python3", "-I"]
        if words[2] == "-c":
            program = int(words[3].split("read(")[1].rstrip(")"))
            return self._far(words[4:], data[program:])
        return self._dfedge(words[3:])

    def _far(self, words: list[str], data: bytes) -> Ran:
        self.said.append(words[0])
        if self.breaks_at == words[0]:
            raise self._broken()
        if words[0] == "digest":
            return Ran(out=b"-\n" if self.pyz is None else hashlib.sha256(self.pyz).hexdigest().encode() + b"\n")
        if words[0] == "receive":
            self.pyz = data
            return Ran()
        if words[0] == "dfedge":
            return self._answer(lambda: _key(self.state, dry_run="--dry-run" in words))
        assert words[0] == "join"
        return self._answer(lambda: self._join(json.loads(data)))

    def _join(self, files: dict[str, str]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (Path(folder) / name).write_bytes(base64.b64decode(text))
            return {"name": join(Path(folder), self.state).name}

    def _dfedge(self, words: list[str]) -> Ran:
        if words == ["service", "--help"]:
            return Ran(0 if self.service else 2)
        if words == ["--version"]:
            return Ran(out=b"dfedge 1.0\n")
        if words[1:3] == ["service", "status"]:
            return Ran(out=json.dumps({"installed": {"id": self.installed}}).encode()) if self.installed else Ran(1)
        if words[1:3] == ["service", "install"]:
            return self._install()
        assert words == ["--json", "status"]
        if self.runs is None:
            return Ran(1, b'{"ok":false,"error":"no agent answers","hint":""}\n')
        status = {"node": {"id": self.runs}, "version": "1.0", "peers": 2, "degraded": self.degraded}
        return Ran(out=json.dumps(status | ({"certificate_days": self.days} if self.days else {})).encode())

    def _install(self) -> Ran:
        assert self.pyz is not None
        self.said.append("service")
        if self.refuses == self.pyz:
            return Ran(1, b'{"ok":false,"error":"it does not work on this host","hint":"journalctl -eu dfedge"}\n')
        version = hashlib.sha256(self.pyz).hexdigest()[:16]
        started = self.starts and (self.runs is None or self.installed != version)
        self.installed, self.runs = version, make_key(self.state).id if started or self.runs else None
        notes = [] if self.starts else ["this user's systemd does not run here"]
        return Ran(out=json.dumps({"started": started, "notes": notes}).encode())

    def _answer(self, act: Any) -> Ran:
        try:
            return Ran(out=json.dumps(act()).encode() + b"\n")
        except DfedgeError as error:
            return Ran(1, json.dumps({"ok": False, "error": str(error), "hint": error.hint}).encode())

    def _broken(self) -> DfedgeError:
        from dfedge.core.errors import NoPeers

        return NoPeers("the connection was lost")


def _key(state: Path, *, dry_run: bool) -> dict[str, Any]:
    made = make_key(state, dry_run=dry_run)
    return {"id": made.id, "public": str(made.public), "made": made.made}


class Network:
    """Hosts by name; how many were connected at once."""

    def __init__(self, **hosts: FakeHost) -> None:
        self.hosts = hosts
        self.now = self.most = 0

    @asynccontextmanager
    async def connect(self, to: Destination) -> AsyncIterator[FakeHost]:
        host = self.hosts.get(to.host)
        if host is None:
            raise DfedgeError(f"{to}: nobody answers", to.ssh)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield host
        finally:
            self.now -= 1


def a_file(*names: str) -> bytes:
    """A file that Python runs, with these names in it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in ("__main__.py", *names):
            archive.writestr(zipfile.ZipInfo(name), "")
    return held.getvalue()
