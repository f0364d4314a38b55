"""Plain SSH as an operator's own: the host key is checked whatever is set, and what goes wrong is one line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import pytest

from dfedge.core.errors import Corrupt, DfedgeError, NoPeers, TimedOut, Untrusted
from dfedge.transfer import shell
from dfedge.transfer.shell import Way, open_shell

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator with a key, who knows nobody."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "id_ed25519")
    key.write_public_key(folder / "id_ed25519.pub")
    return folder


async def _answer(process: Any) -> None:
    """A host that knows a few commands."""
    match process.command:
        case "count":
            process.stdout.write(str(len(await process.stdin.read())).encode())
            process.stderr.write(b"counted")
            process.exit(3)
        case "deaf":
            process.exit(4)
        case "babble":
            with suppress(OSError):
                for _ in range(64):
                    process.stdout.write(b"x" * 65536)
                    await process.stdout.drain()
            process.exit(0)
        case "cut":
            process.channel.get_connection().abort()
        case _:
            await anyio.sleep(30)


@asynccontextmanager
async def a_host(home: Path, *, known: str = "right", trusted: bool = True) -> AsyncIterator[Way]:
    """An SSH server on loopback; `known` says what known_hosts holds of it."""
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    shown = host_key if known == "right" else asyncssh.generate_private_key("ssh-ed25519")
    user = home / "id_ed25519.pub" if trusted else None
    keys = asyncssh.import_authorized_keys(user.read_text() if user else "")
    async with await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host_key], authorized_client_keys=keys, process_factory=_answer, encoding=None
    ) as server:
        port = server.get_port()
        if known != "none":
            line = f"[127.0.0.1]:{port} {shown.export_public_key().decode()}"
            await anyio.Path(home / "known_hosts").write_text(line)
        where = f"127.0.0.1:{port}"
        yield Way("127.0.0.1", "pi", port, where, f"ssh -p {port} pi@127.0.0.1", f"ssh-keyscan -p {port} 127.0.0.1")


async def refused(way: Way) -> DfedgeError:
    with pytest.raises(DfedgeError) as caught:
        async with open_shell(way):
            pass
    assert str(caught.value).startswith(way.label)
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_command_gets_its_input_and_gives_its_output_and_code(home: Path) -> None:
    async with a_host(home) as way, open_shell(way) as there:
        ran = await there.run("count", b"x" * 3_000_000)
        assert (ran.code, ran.out, ran.err) == (3, b"3000000", b"counted")
        assert (await there.run("deaf", b"x" * 3_000_000)).code == 4


async def test_a_host_that_babbles_hangs_or_goes_away_is_bounded(home: Path) -> None:
    async with a_host(home) as way, open_shell(way) as there:
        with pytest.raises(Corrupt, match="says over 1,048,576 bytes"):
            await there.run("babble")
        with pytest.raises(TimedOut, match="no answer in 0 s"):
            await there.run("hang", timeout=0.2)
        with pytest.raises(NoPeers):
            await there.run("cut")


@pytest.mark.parametrize("config", ["", "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n"])
async def test_an_unknown_host_key_is_never_accepted(home: Path, config: str) -> None:
    (home / "config").write_text(config)
    async with a_host(home, known="none") as way:
        error = await refused(way)
        assert isinstance(error, Untrusted)
        assert "unknown host key ssh-ed25519 SHA256:" in str(error)
        assert way.ssh in error.hint and way.keyscan in error.hint


async def test_a_changed_host_key_says_so_and_how_to_forget_the_old_one(home: Path) -> None:
    async with a_host(home, known="other") as way:
        error = await refused(way)
        assert "its host key is not the known one, it shows ssh-ed25519 SHA256:" in str(error)
        assert error.hint.startswith(f"ssh-keygen -R '[127.0.0.1]:{way.port}' && ")


async def test_a_host_that_does_not_know_us_says_so(home: Path) -> None:
    async with a_host(home, trusted=False) as way:
        assert "lets none of your keys in" in str(await refused(way))


async def test_a_host_that_is_not_there_or_silent_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_host(home) as way:
        pass
    assert str(await refused(way)).endswith(": connection refused")
    monkeypatch.setattr(shell, "CONNECT_TIMEOUT", 0.3)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent:
        port = silent.extra(anyio.abc.SocketAttribute.local_port)
        assert isinstance(await refused(Way("127.0.0.1", "", port, "gw", "ssh gw", "")), TimedOut)


async def test_a_config_that_cannot_be_read_is_named(home: Path) -> None:
    async with a_host(home) as way:
        await anyio.Path(home / "config").write_text("Port twentytwo\n")
        assert "~/.ssh" in str(await refused(Way(way.host, "", None, way.label, way.ssh, "")))
