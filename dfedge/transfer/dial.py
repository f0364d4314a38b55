"""Dialling a peer: SSH to an address, meaning to reach one node id."""

import socket
from collections.abc import Callable
from typing import Final

import anyio
import asyncssh

from dfedge.core.errors import DfedgeError, NoPeers, Refused, TimedOut, Untrusted
from dfedge.core.seams import NodeId
from dfedge.transfer.channel import BulkChannel, Channel, ControlChannel
from dfedge.transfer.connection import Connection
from dfedge.transfer.ports import Gate
from dfedge.transfer.ssh import (
    BULK,
    CERTIFICATE,
    CONTROL,
    CONTROL_WINDOW,
    KEX,
    PACKET,
    bulk_window,
    client_options,
    guard_client,
    lighten,
)

DIAL_TIMEOUT: Final = 12.0  # seconds from the first packet to two open channels


class _Client(asyncssh.SSHClient):
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        guard_client(conn, self._gate)
        lighten(conn)


async def ask_id(host: str, port: int, identify: Callable[[asyncssh.SSHKey], NodeId]) -> NodeId:
    """Ask an address which node it is: the id of its host key. A hint, like all that is heard; the dial proves it.

    Raises NoPeers, TimedOut or Untrusted.
    """
    with _told(host, port):
        with anyio.fail_after(DIAL_TIMEOUT):
            key = await asyncssh.get_server_host_key(
                host, port, config=None, kex_algs=list(KEX), server_host_key_algs=[CERTIFICATE]
            )
        if key is None:
            raise Untrusted(f"{host} port {port}: shows no host key")
        return identify(key)


async def dial(host: str, port: int, node: NodeId, gate: Gate) -> Connection:
    """Connect to the node of that id and open both channels.

    Raises NoPeers if nobody is there, TimedOut, Untrusted if it is somebody else or does not trust us.
    """
    with _told(host, port):
        with anyio.fail_after(DIAL_TIMEOUT):
            conn = await asyncssh.connect(host, port, **client_options(gate, node, lambda: _Client(gate)))
            try:
                sock = conn.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                control, bulk = ControlChannel(CONTROL), BulkChannel(BULK)
                await _open(conn, control, CONTROL_WINDOW)
                await _open(conn, bulk, bulk_window())
                return Connection(conn, node, (control, bulk), gate, dialled=True)
            except BaseException:
                conn.abort()
                raise


async def _open(conn: asyncssh.SSHClientConnection, channel: Channel, window: int) -> None:
    await conn.create_session(lambda: channel, subsystem=channel.name, encoding=None, window=window, max_pktsize=PACKET)


class _told:  # noqa: N801 - reads as a verb where it is used
    """Says in the words of our error family why a dial failed."""

    def __init__(self, host: str, port: int) -> None:
        self._where = f"peer {host} port {port}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        where = self._where
        match error:
            case None | DfedgeError():
                return
            case TimeoutError():
                raise TimedOut(f"{where}: no answer in {DIAL_TIMEOUT:.0f} s") from error
            case asyncssh.HostKeyNotVerifiable() | asyncssh.KeyExchangeFailed():
                raise Untrusted(f"{where}: {error.reason}") from error
            case asyncssh.PermissionDenied():
                raise Untrusted(f"{where}: it does not trust our certificate", "dfedge doctor") from error
            case asyncssh.ChannelOpenError():
                raise Refused(f"{where}: does not open our channels ({error.reason})") from error
            case asyncssh.Error():
                raise NoPeers(f"{where}: {error.reason}") from error
            case OSError():
                raise NoPeers(f"{where}: {error.strerror or error}") from error
