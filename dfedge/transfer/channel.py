"""The two channels of a session, as asyncssh sees them: bytes in, bytes out, and when to hold back.

Callbacks, not streams: a stream costs a copy and a task switch for each packet.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.channel import SSHChannel

from dfedge.core.errors import ProtocolError, TimedOut
from dfedge.core.seams import Bytes
from dfedge.core.wire.codec import Splitter, frame
from dfedge.core.wire.frame import HEADER, Frame, Kind
from dfedge.core.wire.message import Message
from dfedge.transfer.ssh import log_nothing

WIDE: Final = 16 * 1024 * 1024  # bytes that a peer may send ahead of our word: as many as we ask for at once
MAX_UNREAD: Final = 1024 * 1024  # bytes of control messages a peer may leave unread before we end the session


class Sender(Protocol):
    """A quicker way to send than the channel's own."""

    def send(self, channel: SSHChannel[bytes], parts: Sequence[bytes]) -> None: ...


class Listener(Protocol):
    """Who hears of a channel's events. A ProtocolError raised here ends the session."""

    def on_message(self, message: Message) -> None: ...

    def on_header(self, header: Frame) -> None:
        """A frame's header arrived; raise ProtocolError unless its body is wanted."""
        ...

    def on_block(self, header: Frame, data: Bytes) -> None: ...

    def on_writable(self) -> None: ...

    def on_failure(self, error: ProtocolError) -> None: ...

    def on_closed(self, reason: str) -> None: ...


class Channel(asyncssh.SSHClientSession[bytes], asyncssh.SSHServerSession[bytes]):
    """What both channels share. One object serves on either end, whoever dialled."""

    def __init__(self, name: str, accept: Callable[[], None] | None = None) -> None:
        self.name = name
        self._accept = accept
        self._chan: SSHChannel[bytes] | None = None
        self._listener: Listener | None = None
        self._early: list[bytes] = []  # what came before a listener; at most the window
        self.sender: Sender | None = None
        self.paused = False

    def attach(self, listener: Listener) -> None:
        """Start to deliver, first what came early."""
        self._listener = listener
        early, self._early = self._early, []
        for data in early:
            self.data_received(data, None)

    def connection_made(self, chan: SSHChannel[bytes]) -> None:
        self._chan = chan
        log_nothing(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == self.name and self._accept is not None

    def session_started(self) -> None:
        if self._accept is not None:
            self._accept()

    @property
    def ssh(self) -> SSHChannel[bytes] | None:
        """asyncssh's half, once it is open."""
        return self._chan

    def data_received(self, data: Bytes, datatype: int | None) -> None:
        if self._listener is None:
            self._early.append(bytes(data))
            return
        try:
            if datatype is not None:
                raise ProtocolError("data of a kind that has no place here")
            self.feed(data, self._listener)
        except ProtocolError as error:
            self._listener.on_failure(error)

    def feed(self, data: Bytes, listener: Listener) -> None:
        """Cut `data` up and deliver it. Raises ProtocolError."""
        raise NotImplementedError

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._listener is not None:
            self._listener.on_closed(str(exc) if exc else f"{self.name} channel closed")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._listener is not None:
            self._listener.on_writable()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer's window."""
        return self._chan.get_write_buffer_size() if self._chan is not None else 0

    def write(self, parts: Sequence[bytes]) -> None:
        """Send bytes, as one SSH packet where they fit."""
        if self._chan is None or self._chan.is_closing():
            return
        if self.sender is not None:
            self.sender.send(self._chan, parts)
        else:
            self._chan.writelines(parts)

    def close(self) -> None:
        """Close the channel, dropping what waits."""
        if self._chan is not None:
            self._chan.abort()


class ControlChannel(Channel):
    """`dfedge-control`: messages.

    As a server's first session it also answers `ssh NODE status`, read-only, so that plain ssh can ask how a node is.
    """

    def __init__(
        self, name: str, accept: Callable[[], None] | None = None, describe: Callable[[], str] | None = None
    ) -> None:
        super().__init__(name, accept)
        self._splitter = Splitter()
        self._describe = describe
        self._is_exec = False

    def exec_requested(self, command: str) -> bool:
        self._is_exec = self._describe is not None and command.strip() == "status"
        return self._is_exec

    def eof_received(self) -> bool:
        return self._is_exec  # plain ssh has nothing to say, and its end of input comes before our answer

    def session_started(self) -> None:
        if not self._is_exec:
            super().session_started()
        elif self._describe is not None and isinstance(self._chan, asyncssh.SSHServerChannel):
            self._chan.write(self._describe().encode())
            self._chan.exit(0)

    def feed(self, data: Bytes, listener: Listener) -> None:
        for message in self._splitter.feed(data):
            listener.on_message(message)

    def send(self, message: Message) -> None:
        """Send a message. Raises TimedOut if the peer has left too many unread: it is slow, or the path is."""
        if self._chan is None or self._chan.is_closing():
            return
        if self.unsent > MAX_UNREAD:
            raise TimedOut(f"leaves {self.unsent:,} bytes of messages unread")
        self.write((frame(message),))


class BulkChannel(Channel):
    """`dfedge-bulk`: requests and blocks. Nearly always one SSH packet is one frame, so nothing is joined or copied."""

    def __init__(self, name: str, accept: Callable[[], None] | None = None) -> None:
        super().__init__(name, accept)
        self._head = bytearray()
        self._header: Frame | None = None
        self._body: list[Bytes] = []
        self._owed = 0
        self._usual: int | None = None  # bytes of the window, before it was widened

    def feed(self, data: Bytes, listener: Listener) -> None:
        at = 0
        while at < len(data):
            if self._header is None:
                at = self._feed_header(data, at, listener)
                continue
            taken = data[at : at + self._owed] if at or self._owed < len(data) else data
            at += len(taken)
            self._owed -= len(taken)
            self._body.append(taken)
            if not self._owed:
                header, body = self._header, self._body
                self._header, self._body = None, []
                listener.on_block(header, body[0] if len(body) == 1 else b"".join(body))

    def _feed_header(self, data: Bytes, at: int, listener: Listener) -> int:
        wanted = HEADER - len(self._head)
        self._head += data[at : at + wanted]
        if len(self._head) == HEADER:
            header = Frame.decode(self._head)
            self._head.clear()
            listener.on_header(header)
            if header.kind is Kind.BLOCK:
                self._header, self._owed = header, header.length
        return at + wanted

    def widen(self, wide: bool) -> None:
        """Let the peer send further ahead of our word that it may go on, or as usual.

        Where that word waits in a queue the usual window is empty before it is there. No more comes for it than was
        asked for, and the sender stops where its socket is full.
        """
        chan: Any = self._chan
        usual = getattr(chan, "_init_recv_window", None)
        if usual is None:
            return
        if self._usual is None:
            self._usual = usual
        chan._init_recv_window = max(WIDE, self._usual) if wide else self._usual  # it says so with the next data

    def send(self, header: Frame, body: bytes = b"") -> None:
        """Send a frame. The caller holds back while `paused`; requests are few and small enough to go at once."""
        self.write((header.encode(), body))
