"""One client on the control socket: its frames, the verb it has under way, its descriptors."""

import array
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
import anyio.abc

from dfedge.core.errors import Busy, DfedgeError, NotFound, Refused
from dfedge.node.controlframe import HEADER, MAX_FDS, Document, body_length, decode, encode, wide

MAX_CONNECTIONS: Final = 32
HALF_FRAME_S: Final = 10.0  # a client that began a frame must finish it in this time
PEER: Final = struct.Struct("iii")  # pid, uid, gid of SO_PEERCRED

log = logging.getLogger("dfedge.control")


class Call:
    """A verb under way: what the client asked, and the way back to it.

    `fds` are the descriptors that came with the verb. Whatever the handler has not taken is closed when it ends.
    """

    def __init__(self, connection: "Connection", params: Document, fds: list[int]) -> None:
        self.params = params
        self.uid = connection.uid
        self.fds = fds
        self._connection = connection

    def take_fd(self, index: int) -> int:
        """Make descriptor `index` of the verb the caller's, who closes it. Raises Refused when there is none."""
        if not 0 <= index < len(self.fds) or self.fds[index] < 0:
            raise Refused(f"control: descriptor {index} was not passed")
        fd, self.fds[index] = self.fds[index], -1
        return fd

    async def emit(self, event: Document) -> None:
        """Tell the client how it goes; waits while the client does not read."""
        await self._connection.send({"event": event})

    async def ask(self, question: Document) -> tuple[Document, list[int]]:
        """Ask the client and wait for its answer; the descriptors in it are the caller's, who closes them."""
        return await self._connection.ask(question)


Handler = Callable[[Document, Call], Awaitable[Document]]


class Connection:
    """One client: reads its frames, runs its verb, closes its descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._sending = anyio.Lock()
        self._running = False
        self._verb = ""  # the last one
        self._asked = False
        self._answer: tuple[Document, list[int]] | None = None
        self._answered = anyio.Event()
        self.pid, self.uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))

    async def run(self, handlers: Mapping[str, Handler], full: bool) -> None:
        """Attend to the client until it goes; a verb under way is cancelled then."""
        try:
            if self.uid not in (0, os.geteuid()):
                log.warning("control refused pid=%d uid=%d", self.pid, self.uid)
                await self._complain(Refused(f"control: user {self.uid} may not speak to this agent"))
            elif full:
                await self._complain(Busy(f"control: {MAX_CONNECTIONS} commands are under way; try again"))
            else:
                async with anyio.create_task_group() as group:
                    await self._read_frames(handlers, group)
                    group.cancel_scope.cancel()
        finally:
            self._sock.close()
            self._close_answer()

    async def _read_frames(self, handlers: Mapping[str, Handler], group: anyio.abc.TaskGroup) -> None:
        while True:
            fds: list[int] = []
            try:
                frame = await self._read_frame(fds)
                if frame is None:
                    return
                match frame:
                    case {"verb": str(verb), "params": dict(params)} if not self._running:
                        self._running = True
                        call, fds = Call(self, params, fds), []
                        group.start_soon(self._run_verb, handlers, verb, call)
                    case {"more": dict(more)} if self._asked:
                        self._asked = False
                        self._answer, fds = (more, fds), []
                        self._answered.set()
                    case _:
                        raise ValueError(f"{str(frame)[:80]} is out of place")
            except ValueError as error:
                await self._complain(Refused(f"control: {error}"))
                return
            except TimeoutError:
                await self._complain(Refused(f"control: a message was not finished in {HALF_FRAME_S:.0f} s"))
                return
            except (OSError, EOFError):
                return  # it is gone, and nobody is left to tell
            finally:
                for fd in fds:
                    os.close(fd)

    async def _run_verb(self, handlers: Mapping[str, Handler], verb: str, call: Call) -> None:
        again, self._verb = verb == self._verb, verb  # one who watches asks each second
        log.log(logging.DEBUG if again else logging.INFO, "control verb=%s pid=%d uid=%d", verb, self.pid, self.uid)
        reply: Document
        try:
            handler = handlers.get(verb)
            if handler is None:
                raise NotFound(f"control: this agent has no verb {verb[:40]!r}; is it of another version?")
            reply = {"result": await handler(call.params, call)}
        except Exception as error:  # one verb must not take the agent along
            told = first_told(error)
            if told is None:
                log.exception("control verb_failed verb=%s", verb)
                told = Refused(f"{verb}: internal error: {type(error).__name__}: {error}")
            reply = _spell(told)
        finally:
            for fd in call.fds:
                if fd >= 0:
                    os.close(fd)
        self._running = self._asked = False
        await self.send(reply)

    async def ask(self, question: Document) -> tuple[Document, list[int]]:
        self._answered = anyio.Event()
        self._asked = True
        await self.send({"ask": question})
        await self._answered.wait()
        assert self._answer is not None
        answer, self._answer = self._answer, None
        return answer

    async def send(self, document: Document) -> None:
        data = memoryview(encode(document))
        async with self._sending:
            while data:
                try:
                    sent = self._sock.send(data)
                except BlockingIOError:
                    await anyio.wait_writable(self._sock)
                except OSError:
                    return  # it is gone; whoever reads from it cancels the verb
                else:
                    data = data[sent:]

    async def _complain(self, error: DfedgeError) -> None:
        with anyio.move_on_after(HALF_FRAME_S):
            await self.send(_spell(error))

    async def _read_frame(self, fds: list[int]) -> Document | None:
        """Read a frame and its descriptors; None when the client is done. Raises ValueError, TimeoutError."""
        first = await self._receive(1, fds)
        if not first:
            return None
        with anyio.fail_after(HALF_FRAME_S):
            header = first + await self._read(HEADER.size - 1, fds)
            frame = decode(await self._read(body_length(header), fds))
        expected = frame.get("fds", 0)
        if expected != len(fds):
            raise ValueError(f"{len(fds)} descriptors came, {expected!r} were announced")
        return frame

    async def _read(self, length: int, fds: list[int]) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = await self._receive(min(length - len(data), 256 * 1024), fds)
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    async def _receive(self, most: int, fds: list[int]) -> bytes:
        while True:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    most, socket.CMSG_SPACE(wide(MAX_FDS)), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    received = array.array("i")
                    received.frombytes(content[: len(content) - len(content) % received.itemsize])
                    fds.extend(received)
            if flags & socket.MSG_CTRUNC or len(fds) > MAX_FDS:
                raise ValueError(f"more than {MAX_FDS} descriptors came with one message")
            return data

    def _close_answer(self) -> None:
        if self._answer is not None:
            for fd in self._answer[1]:
                os.close(fd)
            self._answer = None


def first_told(error: BaseException) -> DfedgeError | None:
    """Find in an error, or in a group of them as task groups raise it, the first that is meant for the user."""
    if isinstance(error, DfedgeError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(first_told, error.exceptions)), None)
    return None


def _spell(error: DfedgeError) -> Document:
    return {"error": {"code": error.code, "error": str(error), "hint": error.hint}}
