"""A neighbour with a good certificate and bad code: it says whatever a test tells it to."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import anyio
from fleet import PATIENCE

from dfedge.core.errors import ProtocolError
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import HEADER, Frame, Kind
from dfedge.transfer.dial import dial
from dfedge.trust.nodetrust import NodeTrust

HANDLE: Final = 7


class Home(Protocol):
    """What must be known of a node: a Board is one."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> Path: ...
    @property
    def port(self) -> int: ...


class Evil:
    """One session with a victim. It greets properly; after that everything is raw."""

    def __init__(self, victim: Home, own: Home) -> None:
        self._trust = NodeTrust.open(own.state)
        self._victim = victim
        self.said: list[m.Message] = []
        self.closed = anyio.Event()
        self.reason = ""
        self.serve: Callable[[Frame], bytes | None] = lambda _frame: None
        self.boot = os.urandom(16)
        self.rejects = 0
        self.record = self._trust.own_record
        self.id = self._trust.own_id
        self.name = own.name

    async def connect(self) -> None:
        """Dial the victim and say hello."""
        victim = NodeTrust.open(self._victim.state).own_id
        self.connection = await dial("127.0.0.1", self._victim.port, NodeId(victim), self._trust)
        self.control, self.bulk = self.connection._control, self.connection._bulk
        self.control.attach(self)
        self.bulk.attach(self)
        own = self._trust
        self.send(m.Hello(m.PROTOCOL, self.boot, own.fleet, 7411, 1, "evil", self.record, own.revocation))
        await self.heard(m.Hello)

    def send(self, *messages: m.Message) -> None:
        for message in messages:
            self.raw(codec.frame(message))

    def raw(self, data: bytes) -> None:
        if self.control._chan is not None and not self.control._chan.is_closing():
            self.control._chan.write(data)

    def raw_bulk(self, data: bytes) -> None:
        if self.bulk._chan is not None and not self.bulk._chan.is_closing():
            self.bulk._chan.write(data)

    async def heard(self, kind: type[m.Message]) -> m.Message:
        """Wait for a message of that kind."""
        with anyio.fail_after(PATIENCE):
            while True:
                for message in self.said:
                    if isinstance(message, kind):
                        return message
                assert not self.closed.is_set(), f"closed ({self.reason}) before {kind.__name__} was heard"
                await anyio.sleep(0.01)

    async def thrown_out(self) -> str:
        """Wait until the victim ends the session; returns what it said."""
        with anyio.fail_after(PATIENCE):
            await self.closed.wait()
        byes = [message.reason for message in self.said if isinstance(message, m.Bye)]
        return byes[-1] if byes else self.reason

    def offer(self, image: bytes, manifest_pieces: int, name: str = "gateway", size: int = 1) -> None:
        """Claim to hold an image whole, and join its swarm."""
        self.send(m.Catalogue((m.Entry(image, name, "1", 1, size, size),)))
        self.send(m.Join(HANDLE, image, True, PieceMap.full(manifest_pieces).encode()), m.Unchoke(HANDLE))

    # What the channels call.

    def on_message(self, message: m.Message) -> None:
        self.said.append(message)

    def on_header(self, header: Frame) -> None:
        if header.kind is Kind.REQUEST:
            body = self.serve(header)
            if body is not None:
                self.answer(header, body)
        elif header.kind is Kind.REJECT:
            self.rejects += 1

    def answer(self, asked: Frame, body: bytes) -> None:
        block = Frame(Kind.BLOCK, asked.handle, asked.request, asked.piece, asked.offset, asked.length)
        self.raw_bulk(block.encode() + body)

    def on_block(self, header: Frame, data: bytes | memoryview) -> None:
        self.said.append(m.Warn(f"block {header.piece} {hashlib.sha256(data).hexdigest()}"))

    def on_writable(self) -> None: ...

    def on_failure(self, error: ProtocolError) -> None:
        self.reason = str(error)

    def on_closed(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.closed.set()

    def hang_up(self) -> None:
        self.connection._ssh.abort()


@asynccontextmanager
async def evil_to(victim: Home, own: Home, record: bytes | None = None) -> AsyncIterator[Evil]:
    """A greeted session of `own`'s key with the victim; with `record` it shows that one instead of its own."""
    evil = Evil(victim, own)
    evil.record = evil.record if record is None else record
    await evil.connect()
    try:
        yield evil
    finally:
        evil.hang_up()


assert HEADER == 20
