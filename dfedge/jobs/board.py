"""A host reached over plain SSH, while it is made a node: what it is, what is there, and the steps on it."""

import base64
import inspect
import json
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from dfedge.core.errors import Corrupt, NoSpace, Refused
from dfedge.jobs import farend
from dfedge.jobs.destination import Destination
from dfedge.jobs.payload import Payload
from dfedge.jobs.probe import Facts, Ran, Shell, check_become, first_line, printable, probe

NAME: Final = "deployed.pyz"  # `service install` has its own copies beside it
_LINGER: Final = "/var/lib/systemd/linger/"  # systemd-logind(8)
_SLOWEST: Final = 32 * 1024  # bytes/s; a copy that is slower is given up
_DFEDGE_TIMEOUT: Final = 120.0  # seconds; the first start on a board unpacks 15 MB to an SD card
_SERVICE_TIMEOUT: Final = 240.0  # seconds; it runs a selftest
_MAX_RECORD: Final = 64 * 1024  # bytes


class Board:
    """One host. `become` is the command that makes root of the user who logs in, or nothing."""

    def __init__(self, shell: Shell, destination: Destination, become: str = "") -> None:
        self._shell = shell
        self.where = str(destination)
        self._to = destination
        self._become = become
        self._facts: Facts | None = None

    async def probe(self, machines: frozenset[str] = frozenset()) -> Facts:
        """Look at the host. Raises Refused where dfedge cannot run there, or we may not become root."""
        if self._become:
            await check_become(self._shell, self._to, self._become)
        self._facts = await probe(self._run, self._to, machines)
        return self._facts

    @property
    def path(self) -> str:
        """Where the file is, or will be, over there."""
        assert self._facts is not None, "probe first"
        base = "/usr/local/lib" if self._facts.uid == 0 else f"{self._facts.home}/.local/lib"
        return str(PurePosixPath(base) / "dfedge" / NAME)

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
        words = ["join", "--make-key", *(["--dry-run"] if dry_run else [])]
        ran = await self._far("dfedge", self.path, *words, check=False)
        return self._answer(ran, "join --make-key")

    async def read(self, path: str) -> bytes:
        """A small file of the node; empty if there is none."""
        ran = await self._run(f"test ! -e {shlex.quote(path)} || head -c {_MAX_RECORD} {shlex.quote(path)}")
        if ran.code:
            raise Refused(f"{self.where}: {first_line(ran.err)}")
        return ran.out

    async def join(self, enrolment: Mapping[str, bytes]) -> Mapping[str, object]:
        """Let it join by these files."""
        data = json.dumps({name: base64.b64encode(content).decode() for name, content in enrolment.items()}).encode()
        return self._answer(await self._far("join", self.path, data=data, timeout=_DFEDGE_TIMEOUT, check=False), "join")

    async def has_service(self) -> bool:
        """Whether the file there can install a service."""
        return (await self._run(self._command("service", "--help"), _DFEDGE_TIMEOUT)).code == 0

    async def installed(self) -> str:
        """Which version is the service there: how the SHA-256 of its file begins. Empty where none is."""
        ran = await self._run(self._command("--json", "service", "status", *self._user()), _DFEDGE_TIMEOUT)
        found = self._answer(ran, "service status").get("installed") if ran.code == 0 else None
        name = found.get("id") if isinstance(found, dict) else None
        return name if isinstance(name, str) else ""

    async def install_service(self) -> tuple[bool, str]:
        """Install it; whether that started its agent, or anew, and its notes. Raises Refused if that fails."""
        done = await self.dfedge("service", "install", *self._user(), timeout=_SERVICE_TIMEOUT)
        notes = done.get("notes")
        return done.get("started") is True, printable("; ".join(map(str, notes)) if isinstance(notes, list) else "")

    async def restart_service(self, *, runs: bool) -> bool:
        """Start the service anew, so that its agent takes up new certificates; false where systemd cannot.

        An agent that `runs`, but not as the service, keeps the service from running.
        """
        assert self._facts is not None, "probe first"
        systemctl = "systemctl --user" if self._facts.uid else "systemctl"
        ours = f"{systemctl} is-active -q dfedge && " if runs else ""
        ran = await self._run(f"{ours}{systemctl} restart dfedge", _SERVICE_TIMEOUT)
        return ran.code == 0

    async def to_linger(self) -> str:
        """What lets the agent of a user run without a login of that user; empty where nothing is needed."""
        assert self._facts is not None, "probe first"
        if self._facts.uid == 0:
            return ""
        ran = await self._run(f"test -e {shlex.quote(_LINGER + self._facts.user)}")
        return f"sudo loginctl enable-linger {self._facts.user}" if ran.code else ""

    async def version(self) -> str:
        """Which dfedge the file there is."""
        ran = await self._run(self._command("--version"), _DFEDGE_TIMEOUT)
        return ran.out.decode(errors="replace").strip().removeprefix("dfedge ")

    async def status(self) -> Mapping[str, object] | None:
        """How its agent is; None where none answers."""
        try:
            return await self.dfedge("status")
        except Refused:
            return None

    async def dfedge(self, *words: str, timeout: float = _DFEDGE_TIMEOUT) -> Mapping[str, object]:
        """Run dfedge there; its JSON answer. Raises Refused with what it says."""
        return self._answer(await self._run(self._command("--json", *words), timeout), " ".join(words))

    def hint(self, command: str) -> str:
        """How the operator runs it there."""
        return f"{self._to.ssh} {self._become + ' ' if self._become else ''}{command}"

    @property
    def journal(self) -> str:
        """What shows there why the service is not well."""
        return " ".join(["journalctl", *self._user(), "-eu", "dfedge"])

    def _user(self) -> list[str]:
        assert self._facts is not None, "probe first"
        return ["--user"] if self._facts.uid else []

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
            why = answer.get("error") if isinstance(answer.get("error"), str) else first_line(ran.err)
            hint = answer.get("hint")
            told = self.hint(printable(hint)) if isinstance(hint, str) and hint else ""
            full = answer.get("code") == NoSpace.code
            raise (NoSpace if full else Refused)(f"{self.where}: dfedge {what} there: {why}"[:600], told)
        if not answer and lines:
            raise Corrupt(f"{self.where}: dfedge {what} there answers with what is no JSON: {lines[-1][:80]}")
        return answer

    async def _far(self, *words: str, data: bytes = b"", timeout: float = _DFEDGE_TIMEOUT, check: bool = True) -> Ran:
        """Run `farend` there. It comes on stdin, before the data: no file of it stays, and no log of sudo is filled."""
        program = inspect.getsource(farend).encode()
        start = f"import sys; exec(sys.stdin.buffer.read({len(program)}))"
        ran = await self._run(shlex.join(["python3", "-I", "-c", start, *words]), timeout, program + data)
        if ran.code == farend.NO_SPACE and check:
            raise NoSpace(f"{self.where}: {first_line(ran.err)}", self.hint("df -h"))
        if ran.code and check:
            raise Refused(f"{self.where}: {first_line(ran.err)}")
        return ran

    async def _run(self, script: str, timeout: float = 30.0, data: bytes = b"") -> Ran:
        shell = ["sh", "-c", script]
        return await self._shell.run(
            shlex.join([self._become, "-n", "--", *shell] if self._become else shell), data, timeout
        )
