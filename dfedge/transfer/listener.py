"""The accept gate, and our end of a session that a peer dialled.

asyncssh has no bound on connections that have not shown who they are; so ours stands before it and closes the rest
(`transfer.strangers` says whom), and it does not see who does not begin to speak SSH.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.abc
import asyncssh

from dfedge.core.errors import Busy, DfedgeError
from dfedge.core.seams import NodeId
from dfedge.transfer.channel import BulkChannel, ControlChannel
from dfedge.transfer.connection import Connection
from dfedge.transfer.peers import Peers
from dfedge.transfer.ports import Gate
from dfedge.transfer.ssh import (
    BULK,
    CONTROL,
    CONTROL_WINDOW,
    LOGIN_TIMEOUT,
    PACKET,
    bulk_window,
    guard_server,
    lighten,
    server_options,
)
from dfedge.transfer.strangers import Stranger, Strangers

GREETING: Final = b"SSH-2.0-"  # what whoever means us says at once, before we say anything
SILENCE_S: Final = 3.0  # seconds to say it: a retransmission or two
CHANNELS_TIMEOUT: Final = 10.0  # seconds from authentication to both channels
log = logging.getLogger("dfedge.transfer")


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind the port: on all addresses of both families if `host` is empty. Raises Busy that says who may hold it."""
    wanted = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")] if not host else _resolve(host)  # noqa: S104 - peers on any interface may dial us
    sockets: list[socket.socket] = []
    for family, address in wanted:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no such family on this host
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.listen(128)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            if family == socket.AF_INET6 and not host:
                continue  # IPv6 is switched off
            for other in sockets:
                other.close()
            raise Busy(f"listen {address} port {port}: {error.strerror}", "set [node] listen to a free port") from error
        sockets.append(sock)
    if not sockets:
        raise Busy(f"listen {host or 'any address'} port {port}: no address can be bound")
    return sockets


def _resolve(host: str) -> list[tuple[int, str]]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        raise Busy(f"listen {host}: not an address of this host ({error.strerror})") from error
    return [(family, str(address[0])) for family, _, _, _, address in found]


class Listener:
    """Accepts peers on bound sockets, and hands those that prove who they are to the table of peers."""

    def __init__(self, gate: Gate, peers: Peers, describe: Callable[[], str]) -> None:
        self._gate = gate
        self._peers = peers
        self._describe = describe
        self._strangers = Strangers()
        self.turned_away = 0  # connections closed at once, as too many strangers were waiting

    async def run(self, sockets: list[socket.socket]) -> None:
        """Accept until cancelled; closes the sockets."""
        try:
            async with anyio.create_task_group() as tasks:
                for sock in sockets:
                    tasks.start_soon(self._accept, sock, tasks)
        finally:
            for sock in sockets:
                sock.close()

    async def _accept(self, listening: socket.socket, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(listening)
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                log.warning("accept failed error=%s", error.strerror)  # out of descriptors: leave those in hand alone
                await anyio.sleep(0.2)
                continue
            scope = anyio.CancelScope()
            stranger = Stranger(str(address[0]), scope.cancel)
            if not self._strangers.admit(stranger):
                self.turned_away += 1
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.start_soon(self._welcome, sock, stranger, scope)

    async def _welcome(self, sock: socket.socket, stranger: Stranger, scope: anyio.CancelScope) -> None:
        server, host = _Server(self._gate, self._describe), stranger.host
        conn = None
        try:
            with scope:
                conn = await self._authenticate(sock, stranger, server)
        finally:
            self._strangers.gone(stranger)
            if conn is None and server.conn is not None:
                server.conn.abort()
            if server.conn is None:
                sock.close()
        if conn is None:
            return
        self._strangers.known(host)
        try:
            with anyio.move_on_after(CHANNELS_TIMEOUT):
                await server.ready.wait()
            if not server.ready.is_set():
                return  # plain ssh that asked for status, or somebody who asked for nothing
            node = NodeId(str(conn.get_extra_info("username")))
            connection = Connection(conn, node, (server.control, server.bulk), self._gate, dialled=False)
            await self._peers.host(connection)
        except DfedgeError as error:
            log.info("refused address=%s reason=%s", host, error)
        finally:
            conn.abort()

    async def _authenticate(
        self, sock: socket.socket, stranger: Stranger, server: "_Server"
    ) -> asyncssh.SSHServerConnection | None:
        if not await _greets(sock):
            return None
        if not self._strangers.speaks(stranger):
            self.turned_away += 1
            return None
        options = server_options(self._gate, lambda: server)
        with anyio.move_on_after(LOGIN_TIMEOUT + 1):
            try:
                return await asyncssh.run_server(sock, config=None, options=options)
            except (asyncssh.Error, OSError) as error:
                if server.refusal:
                    log.warning("refused address=%s reason=%s", stranger.host, server.refusal)
                else:
                    log.debug("handshake failed address=%s error=%s", stranger.host, error)
                return None
        self._strangers.wasted(stranger)
        return None


async def _greets(sock: socket.socket) -> bool:
    """Whether the other side begins to speak SSH; what it said is left to be read."""
    with anyio.move_on_after(SILENCE_S):
        while True:
            await anyio.wait_readable(sock)
            try:
                said = sock.recv(len(GREETING), socket.MSG_PEEK)
            except BlockingIOError:
                continue
            except OSError:
                return False
            if said == GREETING:
                return True
            if not said or not GREETING.startswith(said):
                return False
            await anyio.sleep(0.05)  # the start of it: the socket stays readable
    return False


class _Server(asyncssh.SSHServer):
    """One inbound connection: two subsystems in order, or `status`, and nothing else."""

    def __init__(self, gate: Gate, describe: Callable[[], str]) -> None:
        self._gate = gate
        self._sessions = 0
        self._open: set[str] = set()
        self.conn: asyncssh.SSHServerConnection | None = None
        self.refusal = ""
        self.ready = anyio.Event()
        self.control = ControlChannel(CONTROL, lambda: self._opened(CONTROL), describe)
        self.bulk = BulkChannel(BULK, lambda: self._opened(BULK))

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn
        guard_server(conn, self._gate, self._refused)
        lighten(conn)

    def _refused(self, reason: str) -> None:
        self.refusal = reason

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - asyncssh's signature
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - asyncssh's signature
        return key in self._gate.ca_keys()

    def session_requested(self) -> Any:
        if self.conn is None or self._sessions >= 2:
            return False
        self._sessions += 1
        if self._sessions == 1:
            return self._channel(CONTROL_WINDOW), self.control
        return self._channel(bulk_window()), self.bulk

    def _channel(self, window: int) -> Any:
        if self.conn is None:
            raise RuntimeError("a session before the connection")
        return self.conn.create_server_channel(encoding=None, window=window, max_pktsize=PACKET)

    def _opened(self, name: str) -> None:
        self._open.add(name)
        if len(self._open) == 2:
            self.ready.set()
