"""The locked-down SSH profile: what we offer, what we accept, and whom (DESIGN: identity and trust).

asyncssh does the cryptography. What its public API does not check (exactly one principal, revocation, when the peer's
certificate ends) is checked around its two validation methods; tests hold those names in place.
"""

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacket, SSHPacketLogger

from dfedge.core.errors import Untrusted
from dfedge.core.seams import NodeId
from dfedge.core.wire.frame import HEADER, MAX_BLOCK
from dfedge.transfer.ports import Gate

CONTROL: Final = "dfedge-control"
BULK: Final = "dfedge-bulk"
CONTROL_WINDOW: Final = 256 * 1024  # bytes
MIN_BULK_WINDOW: Final = 1024 * 1024  # bytes: the sender's memory bound, as asyncssh ignores a full transport
MAX_BULK_WINDOW: Final = 2 * 1024 * 1024  # bytes, where a link of ours does a gigabit: a quarter faster there
GIGABIT: Final = 1000  # Mbit/s
PACKET: Final = MAX_BLOCK + HEADER + 1004  # bytes: a block is one SSH packet
LOGIN_TIMEOUT: Final = 10.0  # seconds
KEEPALIVE: Final = 5.0  # seconds; three unanswered end the session
CERTIFICATE: Final = "ssh-ed25519-cert-v01@openssh.com"
KEX: Final = ("mlkem768x25519-sha256", "curve25519-sha256")
AES: Final = "aes128-gcm@openssh.com"
CHACHA: Final = "chacha20-poly1305@openssh.com"
MAX_SESSION: Final = 24 * 3600.0  # seconds


@functools.cache
def ciphers() -> tuple[str, ...]:
    """AES-GCM first where the CPU has AES instructions; in software it is far slower than ChaCha20, so not offered."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        words = []
    return (AES, CHACHA) if "aes" in words else (CHACHA,)


@functools.cache
def bulk_window() -> int:
    """The window of the bulk channel, in bytes, by our fastest link."""
    speeds = []
    for path in Path("/sys/class/net").glob("*/speed"):
        try:
            speeds.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # a link that is down or has no speed
    return MAX_BULK_WINDOW if max(speeds, default=0) >= GIGABIT else MIN_BULK_WINDOW


def _shared() -> dict[str, Any]:
    return {
        "config": None,
        "kex_algs": list(KEX),
        "encryption_algs": list(ciphers()),
        "compression_algs": ["none"],
        "login_timeout": LOGIN_TIMEOUT,
        "keepalive_interval": KEEPALIVE,
        "keepalive_count_max": 3,
        "agent_forwarding": False,
        "gss_host": None,
    }


def server_options(gate: Gate, factory: Callable[[], asyncssh.SSHServer]) -> asyncssh.SSHServerConnectionOptions:
    """What we are as a server: our host certificate, and nothing but our subsystems for holders of the CA's."""
    return asyncssh.SSHServerConnectionOptions(
        **_shared(),
        server_factory=factory,
        server_host_keys=list(gate.host_keys()),
        public_key_auth=True,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_auth=False,
        gss_kex=False,
        allow_pty=False,
        line_editor=False,
        x11_forwarding=False,
        allow_scp=False,
        encoding=None,
        server_version="dfedge",
    )


def client_options(gate: Gate, node: NodeId, factory: Callable[[], asyncssh.SSHClient]) -> dict[str, Any]:
    """What we are as a client that means to reach `node`: arguments of `asyncssh.connect`."""
    return {
        **_shared(),
        "client_factory": factory,
        "username": gate.own_id,
        "client_keys": list(gate.user_keys()),
        "agent_path": None,
        "host_key_alias": node,
        "known_hosts": ([], list(gate.ca_keys()), []),
        "server_host_key_algs": [CERTIFICATE],
        "preferred_auth": "publickey",
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "public_key_auth": True,
        "gss_auth": False,
        "gss_kex": False,
        "client_version": "dfedge",
    }


def lighten(conn: SSHConnection) -> None:
    """Leave out what asyncssh does for every packet and we have no use for.

    The ignore packet before each packet protects CBC ciphers from a chosen-plaintext attack; the two that we allow are
    authenticated. The log of packets copies each one, whether anybody reads it or not.
    """
    original = conn.send_packet

    def send(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            original(pkttype, *args, handler=handler)

    conn.send_packet = send  # type: ignore[method-assign]
    log_nothing(conn)


def log_nothing(logger: SSHPacketLogger) -> None:
    """Have a connection or a channel log no packets."""

    def nothing(pkttype: int, pktid: int | None, packet: bytes | SSHPacket, note: str = "") -> None:
        del pkttype, pktid, packet, note

    logger.log_sent_packet = logger.log_received_packet = nothing  # type: ignore[method-assign]


def guard_server(conn: asyncssh.SSHServerConnection, gate: Gate, refused: Callable[[str], None]) -> None:
    """Put our certificate rules before asyncssh's own check of a client's certificate.

    The verified end of the certificate is kept as extra info `dfedge_ends`. `refused` hears why one was turned away.
    """
    original = cast("Callable[[str, bytes, bytes, bytes], Awaitable[bool]]", conn.validate_public_key)

    async def validate(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        try:
            ends = gate.admit_certificate(key_data, "user")
        except Untrusted as error:
            refused(str(error))
            return False
        good = await original(username, key_data, msg, signature)
        if good and msg:
            conn.set_extra_info(dfedge_ends=ends)
        return good

    conn.validate_public_key = validate  # type: ignore[method-assign]


def guard_client(conn: asyncssh.SSHClientConnection, gate: Gate) -> None:
    """Put our certificate rules before asyncssh's own check of the server's certificate."""
    original = conn.validate_server_host_key

    def validate(key_data: bytes) -> asyncssh.SSHKey:
        try:
            ends = gate.admit_certificate(key_data, "host")
        except Untrusted as error:
            raise asyncssh.HostKeyNotVerifiable(str(error)) from error
        key = original(key_data)
        conn.set_extra_info(dfedge_ends=ends)
        return key

    conn.validate_server_host_key = validate  # type: ignore[method-assign]


def session_seconds(conn: SSHConnection, gate: Gate) -> float:
    """How long this session may last, in seconds: to the end of the peer's certificate, a day at most."""
    ends = conn.get_extra_info("dfedge_ends")
    if not isinstance(ends, (int, float)):
        raise Untrusted("the peer's certificate was not checked")
    return max(0.0, min(float(ends) - gate.now(), MAX_SESSION))
