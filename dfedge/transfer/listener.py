"""The accept gate, and our end of a session that a peer dialled.

asyncssh has no bound on connections that have not shown who they are; so ours stands before it and closes the rest.
"""

import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
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

MAX_STRANGERS: Final = 32  # connections that have not authenticated yet
MAX_STRANGERS_OF_ONE: Final = 4  # of them from one address
REPLACED_PER_S: Final = 20  # strangers that make room for new ones when all places are taken; each costs 2 ms of CPU
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
        self._strangers: list[_Stranger] = []  # longest waiting first
        self._replaced: deque[float] = deque(maxlen=REPLACED_PER_S)
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
            host = str(address[0])
            if not self._may_wait(host):
                self.turned_away += 1
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stranger = _Stranger(host, anyio.CancelScope())
            self._strangers.append(stranger)
            tasks.start_soon(self._welcome, sock, stranger)

    def _may_wait(self, host: str) -> bool:
        """Find a place for a stranger: where all are taken, the longest waiting of the most crowded address leaves."""
        crowd = Counter(stranger.host for stranger in self._strangers)
        if crowd[host] >= MAX_STRANGERS_OF_ONE:
            return False
        if len(self._strangers) < MAX_STRANGERS:
            return True
        now = time.monotonic()
        if len(self._replaced) == REPLACED_PER_S and now - self._replaced[0] < 1.0:
            return False
        self._replaced.append(now)
        leaver = max(self._strangers, key=lambda stranger: crowd[stranger.host])
        self._strangers.remove(leaver)
        leaver.scope.cancel()
        return True

    async def _welcome(self, sock: socket.socket, stranger: "_Stranger") -> None:
        server, host = _Server(self._gate, self._describe), stranger.host
        conn = None
        try:
            with stranger.scope:
                conn = await self._authenticate(sock, host, server)
        finally:
            if stranger in self._strangers:
                self._strangers.remove(stranger)
            if conn is None and server.conn is not None:
                server.conn.abort()
        if conn is None:
            return
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
        self, sock: socket.socket, host: str, server: "_Server"
    ) -> asyncssh.SSHServerConnection | None:
        options = server_options(self._gate, lambda: server)
        with anyio.move_on_after(LOGIN_TIMEOUT + 1):
            try:
                return await asyncssh.run_server(sock, config=None, options=options)
            except (asyncssh.Error, OSError) as error:
                if server.refusal:
                    log.warning("refused address=%s reason=%s", host, server.refusal)
                else:
                    log.debug("handshake failed address=%s error=%s", host, error)
                return None
            finally:
                if server.conn is None:
                    sock.close()
        return None


@dataclass(slots=True, eq=False)
class _Stranger:
    """A connection that has not shown who it is."""

    host: str
    scope: anyio.CancelScope


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
