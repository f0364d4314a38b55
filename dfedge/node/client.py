"""The command line's side of the control socket: blocking, and light enough to load for a 250 ms `dfedge status`."""

import array
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from dfedge.core import errors
from dfedge.core.errors import AgentDown, Corrupt, DfedgeError
from dfedge.node.controlframe import (
    HEADER,
    MAX_FDS,
    Document,
    body_length,
    decode,
    encode,
    open_folder,
    socket_address,
)

OnEvent = Callable[[Document], None]
OnAsk = Callable[[Document], tuple[Document, Sequence[int]]]
"""Answers the agent's question; the descriptors it returns are closed once they are sent."""

_BY_CODE: Final[dict[str, type[DfedgeError]]] = {
    kind.code: kind
    for kind in (
        errors.Refused,
        errors.NoPeers,
        errors.Untrusted,
        errors.NoSpace,
        errors.NotFound,
        errors.TimedOut,
        errors.AgentDown,
        errors.Corrupt,
        errors.Busy,
        errors.UsageError,
    )
}


class Client:
    """A connection to the agent. One verb at a time; when it closes in the middle of one, the agent drops that verb."""

    def __init__(self, sock: socket.socket, place: Path) -> None:
        self._sock = sock
        self._place = place

    @classmethod
    def connect(cls, runtime_dir: Path, timeout_s: float | None = None) -> "Client":
        """Raises AgentDown when nobody listens, Refused when the folder or the socket is not to be trusted or used.

        With `timeout_s` each answer raises TimeoutError that takes longer.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            folder = open_folder(runtime_dir)
            try:
                sock.connect(socket_address(folder))
            finally:
                os.close(folder)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            raise AgentDown(f"no agent answers at {runtime_dir}", "dfedge agent") from None
        except PermissionError:
            sock.close()
            raise errors.Refused(f"the agent at {runtime_dir} runs as another user", "run it as that user") from None
        except BaseException:
            sock.close()
            raise
        return cls(sock, runtime_dir)

    def call(
        self,
        verb: str,
        params: Document,
        fds: Sequence[int] = (),
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
    ) -> Document:
        """Have the agent do `verb`, and wait for its result. `fds` stay the caller's.

        Raises the DfedgeError of the agent's answer, AgentDown when it goes away before.
        """
        self._send({"verb": verb, "params": params, "fds": len(fds)}, fds)
        while True:
            match self._receive():
                case {"event": dict(event)}:
                    if on_event is not None:
                        on_event(event)
                case {"ask": dict(question)} if on_ask is not None:
                    more, sent = on_ask(question)
                    try:
                        self._send({"more": more, "fds": len(sent)}, sent)
                    finally:
                        for fd in sent:
                            os.close(fd)
                case {"result": dict(result)}:
                    return result
                case {"error": {"code": str(code), "error": str(text), **rest}}:
                    raise _BY_CODE.get(code, errors.Refused)(text, str(rest.get("hint", "")))
                case other:
                    raise Corrupt(
                        f"agent at {self._place}: it answered {str(other)[:80]}, which this program can't read"
                    )

    def _send(self, document: Document, fds: Sequence[int]) -> None:
        assert len(fds) <= MAX_FDS
        data = encode(document)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self._sock.sendmsg([data], rights)
            self._sock.sendall(memoryview(data)[sent:])
        except (BrokenPipeError, ConnectionResetError):
            # it may have said why before it hung up; `_receive` will read that, or raise
            return

    def _receive(self) -> Document:
        try:
            return decode(self._read(body_length(self._read(HEADER.size))))
        except ValueError as error:
            raise Corrupt(f"agent at {self._place}: {error}") from error

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        have = 0
        while have < length:
            try:
                got = self._sock.recv_into(view[have:])
            except ConnectionResetError:
                got = 0
            if not got:
                raise AgentDown(f"the agent at {self._place} went away before it had answered", "dfedge status")
            have += got
        return bytes(data)

    def close(self) -> None:
        """Hang up; a verb under way is dropped by the agent."""
        self._sock.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()
