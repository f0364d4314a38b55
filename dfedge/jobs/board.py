"""A host reached over plain SSH, while it is made a node: what it is, what is there, and the steps on it."""

import base64
import inspect
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from dfedge.core.errors import Corrupt, Refused
from dfedge.jobs import farend
from dfedge.jobs.destination import Destination
from dfedge.jobs.payload import Payload

OLDEST_PYTHON: Final = (3, 11)
NAME: Final = "deployed.pyz"  # `service install` has its own copies beside it
_PROBE: Final = """
echo uid $(id -u); echo user $(id -un); echo home "$HOME"; echo nodename $(uname -n); echo machine $(uname -m)
command -v python3 >/dev/null || exit 0
echo python $(python3 -c 'import sys, struct, platform
print("%d.%d.%d" % sys.version_info[:3], struct.calcsize("P") * 8, platform.libc_ver()[0] or "other")' 2>&1)
"""
_PROBE_TIMEOUT: Final = 30.0  # seconds
_SLOWEST: Final = 32 * 1024  # bytes/s; a copy that is slower is given up
_DFEDGE_TIMEOUT: Final = 120.0  # seconds; the first start on a board unpacks 15 MB to an SD card
_SERVICE_TIMEOUT: Final = 240.0  # seconds; it runs a selftest
_MAX_RECORD: Final = 64 * 1024  # bytes


class Ran(Protocol):
    """How a command ended there."""

    @property
    def code(self) -> int: ...
    @property
    def out(self) -> bytes: ...
    @property
    def err(self) -> bytes: ...


class Shell(Protocol):
    """Runs commands on the host as the user who logged in."""

    async def run(self, command: str, data: bytes = b"", timeout: float = 30.0) -> Ran:
        """Run one in `sh`, with `data` as its input."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host says of itself."""

    uid: int
    user: str
    home: str
    nodename: str
    machine: str  # as in file names of wheels: a 32-bit Python makes a machine of 32 bits
    python: tuple[int, ...]
    libc: str


class Board:
    """One host. `become` is the command that makes root of the user who logs in, or nothing."""

    def __init__(self, shell: Shell, destination: Destination, become: str = "") -> None:
        self._shell = shell
        self.where = str(destination)
        self._ssh = destination.ssh
        self._become = become
        self._facts: Facts | None = None

    async def probe(self, machines: frozenset[str] = frozenset()) -> Facts:
        """Look at the host. Raises Refused where dfedge cannot run there, or we may not become root."""
        if self._become:
            await self._check_become()
        ran = await self._run(_PROBE, _PROBE_TIMEOUT)
        said = dict(line.split(" ", 1) for line in ran.out.decode(errors="replace").splitlines() if " " in line)
        version, *more = said.get("python", "").split(" ")
        if not version:
            raise Refused(
                f"{self.where}: has no python3, dfedge needs 3.11 or newer", f"{self._ssh} apt-get install python3"
            )
        try:
            python = tuple(int(part) for part in version.split("."))
            uid, bits = int(said["uid"]), more[0] if more else "64"
        except (ValueError, KeyError) as error:
            raise Refused(
                f"{self.where}: python3 there does not work: {said.get('python', '')[:120]}", f"{self._ssh} python3 -V"
            ) from error
        if python < OLDEST_PYTHON:
            raise Refused(
                f"{self.where}: python3 there is {version}, dfedge needs 3.11 or newer",
                "install a newer Python there (Debian 12 has 3.11)",
            )
        machine = _machine(said.get("machine", "?"), bits)
        libc = more[1] if len(more) > 1 else "other"
        if machines and machine not in machines:
            raise Refused(
                f"{self.where}: is a {machine}, the file is for {', '.join(sorted(machines))}",
                f"scripts/build-zipapp --targets {machine}",
            )
        if machines and libc != "glibc":
            raise Refused(f"{self.where}: its C library is not glibc, which the file needs")
        self._facts = Facts(
            uid, said.get("user", ""), said.get("home", ""), said.get("nodename", ""), machine, python, libc
        )
        return self._facts

    async def _check_become(self) -> None:
        ran = await self._shell.run(f"{self._become} -n true", timeout=_PROBE_TIMEOUT)
        if ran.code:
            why = (
                "is not there"
                if ran.code == 127
                else "asks for a password, and there is nobody to ask"
                if (b"password" in ran.err or b"terminal" in ran.err)
                else f"refuses: {_first_line(ran.err)}"
            )
            raise Refused(
                f"{self.where}: {self._become} {why}; let this user run it without one (NOPASSWD in /etc/sudoers.d), "
                "or log in as root",
                f"{self._ssh} -t {self._become} true",
            )

    @property
    def path(self) -> str:
        """Where the file is, or will be, over there."""
        assert self._facts is not None, "probe first"
        base = (
            PurePosixPath("/usr/local/lib") if self._facts.uid == 0 else PurePosixPath(self._facts.home) / ".local/lib"
        )
        return str(base / "dfedge" / NAME)

    async def has(self, payload: Payload) -> bool:
        """Whether the very file is there."""
        ran = await self._far("digest", self.path)
        return ran.out.decode(errors="replace").strip() == payload.sha256

    async def exists(self) -> bool:
        """Whether some version of the file is there."""
        return (await self._far("digest", self.path)).out.strip() != b"-"

    async def put(self, payload: Payload) -> None:
        """Copy the file. It is proven there before it gets its name."""
        timeout = 60 + len(payload.data) / _SLOWEST
        await self._far("receive", self.path, payload.sha256, data=payload.data, timeout=timeout)

    async def key(self, *, dry_run: bool = False) -> Mapping[str, object]:
        """Let it make its node key, which stays there: `id`, `public` (a path there), `made`."""
        return await self.dfedge("join", "--make-key", *(["--dry-run"] if dry_run else []))

    async def read(self, path: str) -> bytes:
        """A small file of the node; empty if there is none."""
        ran = await self._run(f"test ! -e {shlex.quote(path)} || head -c {_MAX_RECORD} {shlex.quote(path)}")
        if ran.code:
            raise Refused(f"{self.where}: {_first_line(ran.err)}")
        return ran.out

    async def join(self, enrolment: Mapping[str, bytes]) -> Mapping[str, object]:
        """Let it join by these files."""
        data = json.dumps({name: base64.b64encode(content).decode() for name, content in enrolment.items()}).encode()
        return self._answer(await self._far("join", self.path, data=data, timeout=_DFEDGE_TIMEOUT, check=False), "join")

    async def has_service(self) -> bool:
        """Whether the file there can install a service."""
        return (await self._run(self._command("service", "--help"), _DFEDGE_TIMEOUT)).code == 0

    async def install_service(self) -> None:
        """Install and start it, or start it anew."""
        assert self._facts is not None, "probe first"
        user = ["--user"] if self._facts.uid else []
        await self.dfedge("service", "install", *user, timeout=_SERVICE_TIMEOUT)

    async def status(self) -> Mapping[str, object] | None:
        """How its agent is; None where none answers."""
        try:
            return await self.dfedge("status")
        except Refused:
            return None

    async def dfedge(self, *words: str, timeout: float = _DFEDGE_TIMEOUT) -> Mapping[str, object]:
        """Run dfedge there; its JSON answer. Raises Refused with what it says."""
        return self._answer(await self._run(self._command("--json", *words), timeout), " ".join(words))

    def _command(self, *words: str) -> str:
        return shlex.join(["python3", "-I", self.path, *words])

    def _answer(self, ran: Ran, what: str) -> Mapping[str, object]:
        lines = ran.out.decode(errors="replace").splitlines()
        try:
            answer = json.loads(lines[-1]) if lines else {}
        except (ValueError, RecursionError):
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if ran.code:
            why = answer.get("error") if isinstance(answer.get("error"), str) else _first_line(ran.err)
            hint = answer.get("hint")
            raise Refused(f"{self.where}: dfedge {what} there: {why}"[:600], hint if isinstance(hint, str) else "")
        if not answer and lines:
            raise Corrupt(f"{self.where}: dfedge {what} there answers with what is no JSON: {lines[-1][:80]}")
        return answer

    async def _far(self, *words: str, data: bytes = b"", timeout: float = _DFEDGE_TIMEOUT, check: bool = True) -> Ran:
        """Run `farend` there. It comes on stdin, before the data: no file of it stays, and no log of sudo is filled."""
        program = inspect.getsource(farend).encode()
        start = f"import sys; exec(sys.stdin.buffer.read({len(program)}))"
        ran = await self._run(shlex.join(["python3", "-I", "-c", start, *words]), timeout, program + data)
        if ran.code and check:
            raise Refused(f"{self.where}: {_first_line(ran.err)}")
        return ran

    async def _run(self, script: str, timeout: float = 30.0, data: bytes = b"") -> Ran:
        shell = ["sh", "-c", script]
        return await self._shell.run(
            shlex.join([self._become, "-n", "--", *shell] if self._become else shell), data, timeout
        )


def _machine(machine: str, bits: str) -> str:
    if bits == "32":
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return machine


def _first_line(err: bytes) -> str:
    """What a person wants to see of a program's complaint: dfedge's own line, or else the last one."""
    lines = [line.strip() for line in err.decode(errors="replace").splitlines() if line.strip()]
    ours = [line.removeprefix("dfedge: ") for line in lines if line.startswith("dfedge: ")]
    text = ours[0] if ours else lines[-1] if lines else "it says nothing"
    return "".join(character if character.isprintable() else "?" for character in text[:300])
