"""Plain SSH to a host that need not be a node yet, as its operator would log in by hand.

Only here do the operator's own keys, agent, known_hosts and ~/.ssh/config apply. Host keys are always checked.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import asyncssh

from dfedge.core.errors import Corrupt, DfedgeError, NoPeers, Refused, TimedOut, Untrusted

CONNECT_TIMEOUT: Final = 15.0  # seconds, over all jump hosts
LOGIN_TIMEOUT: Final = 20.0  # seconds; a board with a slow CPU takes a few
KEEPALIVE: Final = 10  # seconds between two, of which 3 may stay unanswered
MAX_OUTPUT: Final = 1024 * 1024  # bytes of each stream of a command; what we ask for is far less
CHUNK: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended there."""

    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True, slots=True)
class Way:
    """A host, and what its operator may try by hand."""

    host: str
    user: str  # empty: as ~/.ssh/config says
    port: int | None
    label: str  # how messages name it
    ssh: str  # `ssh HOST`
    keyscan: str  # `ssh-keyscan HOST`


class SshShell:
    """A session; each command is a channel of its own, without a terminal."""

    def __init__(self, connection: asyncssh.SSHClientConnection, way: Way) -> None:
        self._connection = connection
        self._way = way

    async def run(self, command: str, data: bytes = b"", timeout: float = 30.0) -> Ran:
        """Run `command` in the user's shell with `data` as its input.

        Raises TimedOut, NoPeers when the line breaks, Refused if it runs no commands, Corrupt if it talks too much.
        """
        with _told(self._way, timeout), anyio.fail_after(timeout):
            process = await self._connection.create_process(command, encoding=None, request_pty=False)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(_feed, process, data)
                    streams = [bytearray(), bytearray()]
                    group.start_soon(_drain, process.stdout, streams[0], self._way)
                    group.start_soon(_drain, process.stderr, streams[1], self._way)
                await process.wait_closed()
            except ExceptionGroup as several:
                raise several.exceptions[0] from None
            finally:
                process.close()
            if process.returncode is None:
                raise NoPeers(f"{self._way.label}: the connection was lost in the middle of a command")
            return Ran(process.returncode, bytes(streams[0]), bytes(streams[1]))


@asynccontextmanager
async def open_shell(way: Way) -> AsyncIterator[SshShell]:
    """Log in. Raises Untrusted where the host key or our keys do not hold, NoPeers or TimedOut where nobody answers."""
    client = _Client()
    with _told(way, CONNECT_TIMEOUT, client):
        options = await _options(way, client)
        connection = await asyncssh.connect(way.host, **options)
    try:
        yield SshShell(connection, way)
    finally:
        connection.close()
        with anyio.move_on_after(2, shield=True), suppress(OSError, asyncssh.Error):
            await connection.wait_closed()


class _Client(asyncssh.SSHClient):
    """Remembers the host key that was not to be trusted, for the message."""

    def __init__(self) -> None:
        self.stranger = ""
        self.known: Any = ()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Asked for a key that known_hosts does not hold; the answer is always no."""
        held = asyncssh.match_known_hosts(self.known or _default_known(), host, addr, None if port == 22 else port)
        shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
        self.stranger = (
            f"its host key is not the known one, it shows {shown}" if held[0] else f"unknown host key {shown}"
        )
        return False


def _default_known() -> Any:
    path = Path("~/.ssh/known_hosts").expanduser()
    return str(path) if path.is_file() else b""


async def _options(way: Way, client: _Client) -> dict[str, Any]:
    """What differs from asyncssh's defaults, which are the operator's own settings."""
    options: dict[str, Any] = {
        "config": (),  # ~/.ssh/config
        "client_factory": lambda: client,
        "port": way.port or (),
        "username": way.user or (),
        "preferred_auth": "publickey",  # a password would have to be asked for
        "agent_forwarding": False,
        "connect_timeout": CONNECT_TIMEOUT,
        "login_timeout": LOGIN_TIMEOUT,
        "keepalive_interval": KEEPALIVE,
        "send_env": [],
        "env": {},
    }
    read = await asyncssh.SSHClientConnectionOptions.construct(host=way.host, **options)
    if read.known_hosts is None:  # `UserKnownHostsFile none` would switch the check off
        options["known_hosts"] = []
    else:
        client.known = read.known_hosts
    return options


async def _feed(process: Any, data: bytes) -> None:
    # A command that ends early does not read all of it; its exit code and what it says are what counts.
    with suppress(OSError, asyncssh.Error):
        for start in range(0, len(data), CHUNK):
            process.stdin.write(data[start : start + CHUNK])
            await process.stdin.drain()
        process.stdin.write_eof()


async def _drain(stream: Any, into: bytearray, way: Way) -> None:
    while chunk := await stream.read(CHUNK):
        if len(into) + len(chunk) > MAX_OUTPUT:
            raise Corrupt(
                f"{way.label}: a command there says over {MAX_OUTPUT:,} bytes; does its login print something?"
            )
        into += chunk


@contextmanager
def _told(way: Way, timeout: float, client: _Client | None = None) -> Iterator[None]:
    """Put what went wrong into the words of a user."""
    where = way.label
    try:
        yield
    except DfedgeError:
        raise
    except TimeoutError as error:
        raise TimedOut(f"{where}: no answer in {timeout:.0f} s", way.ssh) from error
    except asyncssh.HostKeyNotVerifiable as error:
        why = client.stranger if client and client.stranger else error.reason
        changed = "not the known one" in why
        do = (
            "if it was installed anew, forget the old key"
            if changed
            else "compare it with the host's own, then accept it"
        )
        hint = f"ssh-keygen -R {_known_as(way)} && {way.ssh}" if changed else f"{way.ssh}   (or: {way.keyscan})"
        raise Untrusted(f"{where}: {why}; {do}", hint) from error
    except asyncssh.PermissionDenied as error:
        raise Untrusted(f"{where}: lets none of your keys in", f"ssh-add -l; {way.ssh}") from error
    except asyncssh.KeyExchangeFailed as error:
        raise Untrusted(f"{where}: {error.reason}", way.ssh) from error
    except asyncssh.ChannelOpenError as error:
        raise Refused(f"{where}: runs no commands ({error.reason})", f"{way.ssh} true") from error
    except asyncssh.Error as error:
        raise NoPeers(f"{where}: {error.reason}", way.ssh) from error
    except (asyncssh.ConfigParseError, asyncssh.KeyImportError, ValueError) as error:
        raise Refused(f"{where}: ~/.ssh: {error}", way.ssh) from error
    except OSError as error:
        # asyncio's own text says which call failed, the number says why
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise NoPeers(f"{where}: {why.lower()}", way.ssh) from error


def _known_as(way: Way) -> str:
    return f"'[{way.host}]:{way.port}'" if way.port and way.port != 22 else way.host
