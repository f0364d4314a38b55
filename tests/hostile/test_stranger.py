"""Strangers on the LAN: whoever has not the fleet's certificate learns nothing and stops nobody."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import asyncssh
import pytest
from fleet import Board, Fleet, until

from dfedge.core.errors import Untrusted
from dfedge.jobs.revoke import revoke
from dfedge.transfer.dial import dial
from dfedge.transfer.ssh import CONTROL
from dfedge.trust.clock import wall_time
from dfedge.trust.fleetfolder import FleetFolder
from dfedge.trust.key import node_id
from dfedge.trust.nodetrust import NodeTrust

DAY: Final = 86_400
Login = tuple[asyncssh.SSHKey, asyncssh.SSHCertificate | None, str]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("stranger"))
    try:
        for name in ("seed", "good", "lost"):
            fleet.board(name)
        fleet.boards[0].start()
        (fleet.folder / "secret").write_bytes(os.urandom(5000))
        fleet.boards[0].ask("publish", str(fleet.folder / "secret"), "--name", "secret", "--version", "1")
        yield fleet
    finally:
        fleet.stop()


def _ca(fleet: Fleet) -> asyncssh.SSHKey:
    return asyncssh.read_private_key(str(fleet.operator / "ca"))


def _user(
    ca: asyncssh.SSHKey, key: asyncssh.SSHKey, principals: list[str], ends: float | None = None
) -> asyncssh.SSHCertificate:
    now = int(wall_time())
    return ca.generate_user_certificate(
        key, "x", principals=principals, valid_after=now - 9 * DAY, valid_before=int(ends or now + DAY)
    )


def _foreign(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, _user(asyncssh.generate_private_key("ssh-ed25519"), key, [node_id(key)]), node_id(key)


def _expired(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, _user(_ca(fleet), key, [node_id(key)], wall_time() - 60), node_id(key)


def _nameless(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, _user(_ca(fleet), key, []), node_id(key)


def _two_names(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, _user(_ca(fleet), key, [node_id(key), "fleet"]), node_id(key)


def _other_name(fleet: Fleet) -> Login:
    key, other = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    return key, _user(_ca(fleet), key, [node_id(other)]), node_id(other)


def _host_as_user(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    now = int(wall_time())
    made = _ca(fleet).generate_host_certificate(
        key, "x", principals=[node_id(key)], valid_after=now - DAY, valid_before=now + DAY
    )
    return key, made, node_id(key)


def _bare(fleet: Fleet) -> Login:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, None, node_id(key)


LOGINS: Final[dict[str, Callable[[Fleet], Login]]] = {
    "a certificate of another fleet": _foreign,
    "an expired certificate": _expired,
    "a certificate with no principal": _nameless,
    "a certificate with two principals": _two_names,
    "a certificate that names another key": _other_name,
    "a host certificate": _host_as_user,
    "a bare key": _bare,
}


@pytest.mark.anyio
@pytest.mark.parametrize("what", LOGINS)
async def test_who_has_no_right_certificate_is_not_even_told_what_is_here(what: str, fleet: Fleet) -> None:
    key, certificate, name = LOGINS[what](fleet)
    with pytest.raises(asyncssh.PermissionDenied):
        async with asyncssh.connect(
            "127.0.0.1", fleet.boards[0].port, username=name, client_keys=[(key, certificate) if certificate else key],
            known_hosts=None, config=None, agent_path=None,
        ) as conn:  # fmt: skip
            await conn.create_session(asyncssh.SSHClientSession, subsystem=CONTROL)
    until(lambda: "refused address=127.0.0.1" in fleet.boards[0].said or what == "a bare key", "the log to say why")


class _Silent(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["foreign", "nameless", "expired", "user"])
async def test_we_do_not_speak_to_an_impostor(what: str, fleet: Fleet) -> None:
    trust = NodeTrust.open(fleet.boards[1].state)
    key, now = asyncssh.generate_private_key("ssh-ed25519"), int(wall_time())
    ca = asyncssh.generate_private_key("ssh-ed25519") if what == "foreign" else _ca(fleet)
    make = ca.generate_user_certificate if what == "user" else ca.generate_host_certificate
    certificate = make(
        key, "x", principals=[] if what == "nameless" else [node_id(key)],
        valid_after=now - 9 * DAY, valid_before=now - 60 if what == "expired" else now + DAY,
    )  # fmt: skip
    server = await asyncssh.create_server(_Silent, "127.0.0.1", 0, server_host_keys=[(key, certificate)], config=None)
    try:
        with pytest.raises(Untrusted):
            await dial("127.0.0.1", server.get_port(), node_id(key), trust)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.anyio
async def test_a_good_node_at_the_wrong_address_is_not_taken_for_another(fleet: Fleet) -> None:
    trust = NodeTrust.open(fleet.boards[1].state)
    other = NodeTrust.open(fleet.boards[2].state).own_id
    with pytest.raises(Untrusted):
        await dial("127.0.0.1", fleet.boards[0].port, other, trust)


def test_plain_ssh_can_ask_a_node_how_it_is(fleet: Fleet, tmp_path: Path) -> None:
    board, own = fleet.boards[0], fleet.boards[1]
    trust, own_trust = NodeTrust.open(board.state), NodeTrust.open(own.state)
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {(fleet.operator / 'ca.pub').read_text()}")
    base = [
        "ssh", "-F", "none", "-p", str(board.port), "-i", str(own.state / "node/node_key"),
        "-o", f"CertificateFile={own.state}/node/user-cert.pub", "-o", f"UserKnownHostsFile={known}",
        "-o", f"HostKeyAlias={trust.own_id}", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
        f"{own_trust.own_id}@127.0.0.1",
    ]  # fmt: skip
    done = subprocess.run([*base, "status"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert '"name": "seed"' in done.stdout
    for command in ("id", "status; id", "sh"):
        refused = subprocess.run([*base, command], capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode != 0
        assert "uid=" not in refused.stdout


def _descriptors(board: Board) -> int:
    assert board.process is not None
    return len(list(Path(f"/proc/{board.process.pid}/fd").iterdir()))


def _rss(board: Board) -> int:
    assert board.process is not None
    status = Path(f"/proc/{board.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_a_thousand_silent_connections_and_garbage_stop_no_good_node(fleet: Fleet) -> None:
    seed, good = fleet.boards[0], fleet.boards[1]
    fds, rss = _descriptors(seed), _rss(seed)
    with ExitStack() as stack:
        for number in range(1000):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(5)
            sock.bind((f"127.0.{number % 200}.{2 + number % 50}", 0))
            sock.connect(("127.0.0.1", seed.port))
            if number % 3 == 0:
                try:
                    sock.sendall(
                        os.urandom(100) if number % 2 else b"SSH-2.0-x\r\n" + b"\x00\x03\xff\xff" + bytes(5000)
                    )
                except OSError:
                    continue  # turned away already
        assert _descriptors(seed) <= fds + 64
        assert _rss(seed) <= rss + 32 * 1024 * 1024
        good.start()
        until(lambda: "good" in seed.connected(), "a good node to join during the storm")
    assert "Traceback" not in seed.said


def test_a_revoked_node_is_refused_wherever_the_list_is_known(fleet: Fleet) -> None:
    seed, lost = fleet.boards[0], fleet.boards[2]
    lost.start()
    until(lambda: "lost" in seed.connected(), "the node that will be lost")
    assert seed.run("fleet", "revoke", "lost").returncode == 0
    until(lambda: "lost" not in seed.connected(), "its session to end")
    assert "revoked peer=lost" in seed.said
    until(lambda: "this node is revoked" in str(lost.ask("status")["degraded"]), "it to say so itself")
    assert FleetFolder.open(fleet.operator).revocation.sequence >= 1
    assert revoke(fleet.operator, "lost").already
    done = lost.run("get", "secret:1", "--timeout", "3s")
    assert done.returncode == 1
    assert not (lost.state / "blobs/sha256").exists() or not list((lost.state / "blobs/sha256").iterdir())
