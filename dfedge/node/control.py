"""The agent's side of the control socket: who may speak, which verb runs, what becomes of the descriptors.

The agent never opens a path that a client names: the client opens it and passes the descriptor. A client that goes away
cancels its verb. `node.controlframe` describes the frames.
"""

import fcntl
import logging
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

from dfedge.core.errors import Busy, Refused
from dfedge.node.controlcall import MAX_CONNECTIONS, PEER, Call, Connection, Handler, first_told
from dfedge.node.controlframe import SOCKET, open_folder, socket_address

__all__ = ["MAX_CONNECTIONS", "Call", "Handler", "first_told", "serve"]

log = logging.getLogger("dfedge.control")


async def serve(
    runtime_dir: Path,
    handlers: Mapping[str, Handler],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on `runtime_dir`/control.sock until cancelled; `task_status` is started once clients can connect.

    Raises Busy when another agent answers there, Refused when the folder is not fit for it.
    """
    folder = _make_folder(runtime_dir)
    try:
        listener = _listen(folder, runtime_dir)
        with listener:
            task_status.started()
            try:
                await _accept(listener, handlers)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(SOCKET, dir_fd=folder)
    finally:
        os.close(folder)


def _make_folder(runtime_dir: Path) -> int:
    runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_folder(runtime_dir, ours=True)


def _listen(folder: int, runtime_dir: Path) -> socket.socket:
    """Take the folder's lock, which outlives no process, so that a socket left by a dead agent can be replaced."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{runtime_dir}: another agent answers there{_owner(folder)}", "dfedge status") from None
    try:
        kind = os.stat(SOCKET, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISSOCK(kind):
            raise Refused(f"{runtime_dir}/{SOCKET}: it is there and is not a socket", f"rm {runtime_dir}/{SOCKET}")
        os.unlink(SOCKET, dir_fd=folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(socket_address(folder))
        Path(socket_address(folder)).chmod(0o600)  # before listen(): until then nobody can connect
        listener.listen(MAX_CONNECTIONS)
    except FileNotFoundError:  # the socket's path leads through /proc, as a socket's name may not be long
        listener.close()
        raise Refused(
            f"{runtime_dir}/{SOCKET}: can't be made, as /proc is not there", "mount -t proc proc /proc"
        ) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _owner(folder: int) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.settimeout(1)
            sock.connect(socket_address(folder))
            pid, _, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        except OSError:
            return ""
    return f" (pid {pid})"


async def _accept(listener: socket.socket, handlers: Mapping[str, Handler]) -> None:
    open_connections: set[Connection] = set()

    async def attend(connection: Connection) -> None:
        try:
            await connection.run(handlers, full=len(open_connections) > MAX_CONNECTIONS)
        finally:
            open_connections.discard(connection)

    async with anyio.create_task_group() as group:
        while True:
            await anyio.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:  # out of descriptors: those in use will end
                log.warning("control accept_failed error=%r", error.strerror)
                await anyio.sleep(0.5)
                continue
            if len(open_connections) > 2 * MAX_CONNECTIONS:
                sock.close()  # even telling them that we are full is bounded
                continue
            connection = Connection(sock)
            open_connections.add(connection)
            group.start_soon(attend, connection)
