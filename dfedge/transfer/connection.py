"""One session with one peer: greeting, messages, requests, blocks, and its end."""

import asyncio
import logging
import random
import time
from collections import Counter
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
from asyncssh.connection import SSHConnection

from dfedge.core.errors import Busy, Corrupt, DfedgeError, ProtocolError, TimedOut, Untrusted
from dfedge.core.image.manifest import image_id
from dfedge.core.seams import Bytes, ImageId, NodeId, PeerRecord
from dfedge.core.swarm.phase import Session, advance
from dfedge.core.units import host_port
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.ask import Asker
from dfedge.transfer.channel import BulkChannel, ControlChannel
from dfedge.transfer.pace import Pace
from dfedge.transfer.ports import Gate
from dfedge.transfer.serve import Line
from dfedge.transfer.shortcut import shorten
from dfedge.transfer.ssh import session_seconds

GREETING_TIMEOUT: Final = 10.0  # seconds from the open channels to the peer's hello
MANIFEST_TIMEOUT: Final = 30.0  # seconds for one part of a manifest
MAX_EARLY: Final = 256  # messages; a catalogue of 4,096 images is 32
PING_TIMEOUT: Final = 3.0  # seconds
STRAIN_S: Final = 3.0  # seconds that a peer's Strained holds; it is renewed each second
MAX_MESSAGES: Final = 20_000  # in 10 s; a busy peer shows new pieces a hundred times a second
log = logging.getLogger("dfedge.transfer")


class Inbox(Protocol):
    """Who acts on what a greeted peer says. A ProtocolError raised here ends the session."""

    def on_message(self, connection: "Connection", message: m.Message) -> None: ...

    def on_request(self, connection: "Connection", header: Frame) -> None: ...

    def on_writable(self, connection: "Connection") -> None: ...


class Connection:
    """A session with a peer whose id the certificates have proven. Give it a hello, then run it."""

    def __init__(
        self,
        ssh: SSHConnection,
        node: NodeId,
        channels: tuple[ControlChannel, BulkChannel],
        gate: Gate,
        *,
        dialled: bool,
    ) -> None:
        self.id = node
        self.dialled = dialled
        self.endpoint = _endpoint(ssh)  # the peer's address, and its port of this session; empty if it was gone
        self.address = host_port(*self.endpoint) if self.endpoint[0] else "?"
        self.asker = Asker(node, channels[1])
        self.line: Line | None = None
        self.phase = Session.GREETING
        self.reason = ""  # why it ended
        self._is_turned_away = False  # the peer has no place for us now
        self.mistake = ""  # of the peer, if that ended it; never of the path
        self.hello: m.Hello | None = None
        self.record: PeerRecord | None = None
        self._ssh = ssh
        self._control, self._bulk = channels
        self._gate = gate
        self._inbox: Inbox | None = None
        self._greeted = anyio.Event()
        self._closed = anyio.Event()
        self._early: list[m.Message] = []  # said after the greeting, while we judge whether the session may stand
        self._parts: dict[bytes, _Waiting] = {}
        self._overdue: Counter[bytes] = Counter()  # parts that we asked for and no longer wait for
        self._pings: dict[int, anyio.Event] = {}
        self._strain = (0.0, 0.0)
        self._strain_ends = 0.0
        self._sends_late = False  # another flow fills the way up of our own link
        self._pace = Pace(MAX_MESSAGES, "speaks", time.monotonic)

    @property
    def name(self) -> str:
        """What to call the peer: the name that the CA gave it, or its id."""
        return self.record.name if self.record else self.id[:12]

    @property
    def socket(self) -> Any:
        """The session's TCP socket; None once it is gone."""
        return None if self._closed.is_set() else self._ssh.get_extra_info("socket")

    @property
    def strain(self) -> tuple[float, float]:
        """What the peer lately said of other flows' queues in its link, up and down, in seconds of a round trip."""
        return self._strain if time.monotonic() < self._strain_ends else (0.0, 0.0)

    def say_strained(self, up_ms: int, down_ms: int) -> None:
        """Tell the peer how much of its round trips is other flows' doing in our link."""
        self.send(m.Strained(up_ms, down_ms))
        self._sends_late = up_ms > 0
        self._widen()

    def _widen(self) -> None:
        """Where another flow has the way that our words take, the peer need not wait for them."""
        self._bulk.widen(self._sends_late or self.strain[1] > 0)

    async def greet(self, hello: m.Hello) -> m.Hello:
        """Exchange hellos. Raises ProtocolError, Untrusted, Busy or TimedOut; the session is closed then."""
        shorten(self._ssh, (self._control, self._bulk), self._set_blocked)
        self._control.attach(self)
        self._bulk.attach(self)
        self.send(hello)
        with anyio.move_on_after(GREETING_TIMEOUT):
            await self._greeted.wait()
        if self._closed.is_set():
            ended = Busy if self._is_turned_away else ProtocolError
            raise ended(f"peer {self.id[:12]} ({self.address}): {self.reason}")
        if self.hello is None:
            self.close("timeout", "no hello in time")
            raise TimedOut(f"peer {self.id[:12]} ({self.address}): no hello in {GREETING_TIMEOUT:.0f} s")
        return self.hello

    async def run(self, inbox: Inbox, line: Line) -> str:
        """Deliver what the peer says until the session ends; returns why it ended."""
        self._inbox, self.line = inbox, line
        early, self._early = self._early, []
        try:
            for message in early:
                inbox.on_message(self, message)
        except ProtocolError as error:
            self.on_failure(error)
        with anyio.move_on_after(session_seconds(self._ssh, self._gate)) as scope:
            await self._closed.wait()
        if scope.cancelled_caught:
            self.close("untrusted", "the session reached its end; dial again")
        return self.reason

    def send(self, message: m.Message) -> None:
        """Send a message; a peer that reads none of them loses the session."""
        try:
            self._control.send(message)
        except TimedOut as error:
            log.warning("peer too slow peer=%s address=%s reason=%s", self.name, self.address, error)
            self._end(str(error))

    def close(self, code: str, reason: str) -> None:
        """End the session and tell the peer why."""
        if not self._closed.is_set():
            try:
                self._control.send(m.Bye(code, reason[:1024]))
            except TimedOut:
                log.debug("bye not sent peer=%s", self.name)
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self._closed.is_set():
            return
        self.reason = reason
        self._closed.set()
        self._greeted.set()
        for part in self._parts.values():
            part.done.set()
        # A turn later: if the socket is gone this turn has found out, and closing says nothing into it.
        asyncio.get_running_loop().call_soon(self._ssh.close)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def aclose(self) -> None:
        """Wait for the socket to be gone, or cut it off."""
        with anyio.move_on_after(1.0, shield=True) as scope:
            await self._ssh.wait_closed()
        if scope.cancelled_caught:
            self._ssh.abort()

    # What the channels call.

    def on_message(self, message: m.Message) -> None:
        if self._closed.is_set():
            return
        self._pace.count()
        self.phase = advance(self.phase, message)
        if 0 < self._strain_ends <= time.monotonic():  # it was not said that it is over
            self._strain_ends = 0.0
            self._widen()
        match message:
            case m.Hello():
                self._take_hello(message)
            case m.Bye():
                self._is_turned_away = message.code == Busy.code
                self._end(f"peer ended it: {message.reason} [{message.code}]")
            case m.Ping(nonce):
                self.send(m.Pong(nonce))
            case m.Pong(nonce):
                if nonce in self._pings:
                    self._pings[nonce].set()
            case m.Strained(up, down):
                self._strain, self._strain_ends = (up / 1000, down / 1000), time.monotonic() + STRAIN_S
                self._widen()
            case m.ManifestPart():
                self._take_part(message)
            case _ if self._inbox is not None:
                self._inbox.on_message(self, message)
            case _ if len(self._early) < MAX_EARLY:
                self._early.append(message)
            case _:  # it is we who are late
                self.close("busy", f"more than {MAX_EARLY} messages before we were ready")

    def on_header(self, header: Frame) -> None:
        if self._closed.is_set():
            return
        if header.kind is not Kind.REQUEST:
            self.asker.expect(header)
        elif self._inbox is None:
            raise ProtocolError("asks for blocks before we are ready")
        else:
            self._inbox.on_request(self, header)

    def on_block(self, header: Frame, data: Bytes) -> None:
        if not self._closed.is_set():
            self.asker.take(header, data)

    def on_writable(self) -> None:
        if self._inbox is not None:
            self._inbox.on_writable(self)

    def on_failure(self, error: ProtocolError) -> None:
        if not self._closed.is_set():
            log.warning("peer failed peer=%s address=%s error=%s", self.name, self.address, error)
            self.mistake = str(error)
            self.close(error.code, str(error))

    def on_closed(self, reason: str) -> None:
        self._end(reason)

    def _set_blocked(self, blocked: bool) -> None:
        if self.line is not None:
            self.line.blocked = blocked
            if not blocked:
                self.on_writable()

    def _take_hello(self, hello: m.Hello) -> None:
        try:
            if hello.protocol != m.PROTOCOL:
                raise ProtocolError(f"speaks protocol {hello.protocol}, we speak {m.PROTOCOL}")
            if hello.fleet != self._gate.fleet:
                raise Untrusted(f"is of fleet {hello.fleet[:8]}, we are of {self._gate.fleet[:8]}")
            self.record = self._gate.read_record(hello.record, self.id)
        except DfedgeError as error:
            self.close(error.code, str(error))
            self.reason = str(error)
            return
        self.hello = hello
        self._greeted.set()

    # Questions and answers.

    async def alive(self) -> bool:
        """Whether the peer answers a ping."""
        nonce = random.getrandbits(32)
        event = self._pings[nonce] = anyio.Event()
        try:
            self.send(m.Ping(nonce))
            with anyio.move_on_after(PING_TIMEOUT):
                await event.wait()
            return event.is_set() and not self._closed.is_set()
        finally:
            del self._pings[nonce]

    async def manifest(self, image: ImageId) -> tuple[bytes, bytes]:
        """Fetch a manifest and its signature file; the bytes match the id, the signature is not yet verified.

        Raises TimedOut, or Corrupt that names the peer.
        """
        data, signature = bytearray(), b""
        while True:
            part = await self._part(image, len(data))
            if part.total == 0 or part.offset != len(data) or not part.data:
                raise Corrupt(f"peer {self.name}: does not give the manifest it announced")
            data += part.data
            signature = part.signature
            if len(data) == part.total:
                break
        raw = bytes(data)
        if image_id(raw) != image:
            raise Corrupt(f"peer {self.name}: its manifest is {image_id(raw).hex()[:12]}, not {image.hex()[:12]}")
        return raw, signature

    async def _part(self, image: bytes, offset: int) -> m.ManifestPart:
        while image in self._parts:  # another job asks the same; one question at a time keeps the answers apart
            await self._parts[image].done.wait()
            await anyio.lowlevel.checkpoint()
        waiting = self._parts[image] = _Waiting(offset)
        try:
            self.send(m.AskManifest(image, offset))
            with anyio.move_on_after(MANIFEST_TIMEOUT):
                await waiting.done.wait()
        finally:
            waiting.done.set()
            del self._parts[image]
            if waiting.part is None:
                self._overdue[image] += 1
        if waiting.part is None:
            raise TimedOut(f"peer {self.name}: no manifest in {MANIFEST_TIMEOUT:.0f} s")
        return waiting.part

    def _take_part(self, part: m.ManifestPart) -> None:
        waiting = self._parts.get(part.image)
        if waiting is not None and (waiting.offset == part.offset or not part.total):
            waiting.part = part
            waiting.done.set()
        elif self._overdue[part.image] > 0:  # late is no lie
            self._overdue[part.image] -= 1
        else:
            raise ProtocolError("sends a manifest that was not asked for")


class _Waiting:
    """A question for a part of a manifest that is out."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.done = anyio.Event()
        self.part: m.ManifestPart | None = None


def _endpoint(ssh: SSHConnection) -> tuple[str, int]:
    peername: Any = ssh.get_extra_info("peername")
    return (str(peername[0]), int(peername[1])) if peername else ("", 0)
