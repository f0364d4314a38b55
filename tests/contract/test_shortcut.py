"""The short way through asyncssh and asyncssh's own way carry the same bytes, whichever end takes which."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import product
from typing import Any

import anyio
import anyio.lowlevel
import asyncssh
import pytest
from asyncssh.connection import SSHConnection

from dfedge.core.errors import ProtocolError
from dfedge.core.seams import Bytes
from dfedge.transfer import shortcut as shortcut_module
from dfedge.transfer.channel import BulkChannel, Channel
from dfedge.transfer.shortcut import Shortcut, shorten
from dfedge.transfer.ssh import AES, CHACHA, PACKET

pytestmark = pytest.mark.anyio
WINDOW = 512 * 1024
MOST = 20.0  # seconds that anything may take here


class End(Channel):
    """One end of a channel: keeps what comes."""

    def __init__(self, accept: Callable[[], None] | None = None) -> None:
        super().__init__("test", accept)
        self.got = bytearray()
        self.lost: str | None = None
        self.more = anyio.Event()
        self.ssh_connection: Any = None
        self.is_short = False

    def take_up(self, ssh: SSHConnection, short: bool) -> None:
        self.ssh_connection = ssh
        self.is_short = short and shorten(ssh, (self,), lambda _: None)
        assert self.is_short == short, "asyncssh has changed: the short way is not taken"
        self.attach(self)  # type: ignore[arg-type]  # it is the end that listens, not to frames but to bytes

    def feed(self, data: Bytes, listener: object) -> None:
        del listener
        self.got += data
        self.more.set()

    def on_failure(self, error: ProtocolError) -> None:
        raise AssertionError(error)

    def on_writable(self) -> None:
        self.more.set()

    def on_closed(self, reason: str) -> None:
        self.lost = reason
        self.more.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        with anyio.fail_after(MOST):
            while not holds():
                self.more = anyio.Event()
                await self.more.wait()


class Server(asyncssh.SSHServer):
    def __init__(self, end: End) -> None:
        self._end = end
        self.ssh: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._end.ssh_connection = conn

    def begin_auth(self, username: str) -> bool:
        del username
        return False

    def session_requested(self) -> Any:
        return self._end


@asynccontextmanager
async def pair(cipher: str, shorts: tuple[bool, bool], rekey_bytes: int = 1 << 30) -> AsyncIterator[tuple[End, End]]:
    """A client's end and a server's, connected."""
    opened = anyio.Event()
    far, near = End(opened.set), End()
    common: dict[str, Any] = {"encryption_algs": [cipher], "compression_algs": ["none"], "rekey_bytes": rekey_bytes}
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: Server(far), encoding=None, window=WINDOW, max_pktsize=PACKET,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")], line_editor=False, **common,
    )  # fmt: skip
    async with acceptor:
        port = acceptor.sockets[0].getsockname()[1]
        async with asyncssh.connect(
            "127.0.0.1", port, known_hosts=None, username="x", client_keys=None, config=None, agent_path=None, **common
        ) as ssh:
            await ssh.create_session(
                lambda: near, subsystem="test", encoding=None, window=WINDOW, max_pktsize=PACKET
            )  # fmt: skip
            with anyio.fail_after(MOST):
                await opened.wait()
            near.take_up(ssh, shorts[0])
            far.take_up(far.ssh_connection, shorts[1])
            try:
                yield near, far
            finally:
                far.ssh_connection.abort()
                await far.ssh_connection.wait_closed()


def parcels(seed: int, total: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    while total > 0:
        size = min(total, rng.choice((1, 7, 20, 4096, 65_556, 262_164, rng.randrange(1, 300_000))))
        total -= size
        yield rng.randbytes(size)


def arrived(end: End, total: int) -> bool:
    return len(end.got) >= total


async def exchange(one: End, two: End, total: int) -> None:
    """Both send at once, and both must have all of it, in order."""
    sent = {one: list(parcels(1, total)), two: list(parcels(2, total))}

    async def send(end: End) -> None:
        for parcel in sent[end]:
            await end.until(lambda: end.unsent < WINDOW)
            end.write((parcel[:20], parcel[20:]))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, one)
        tasks.start_soon(send, two)
        await one.until(lambda: len(one.got) >= total)
        await two.until(lambda: len(two.got) >= total)
    assert bytes(one.got) == b"".join(sent[two])
    assert bytes(two.got) == b"".join(sent[one])


@pytest.mark.parametrize(("cipher", "near", "far"), [*product((AES, CHACHA), (True, False), (True, False))])
async def test_bytes_arrive_whole_and_in_order_whichever_end_is_short(cipher: str, near: bool, far: bool) -> None:
    async with pair(cipher, (near, far)) as (one, two):
        await exchange(one, two, 3_000_000)


@pytest.mark.parametrize("short", [True, False])
async def test_a_peer_whose_words_come_late_lets_us_send_on_and_later_holds_us_back_again(short: bool) -> None:
    taker = BulkChannel("bulk")
    async with pair(AES, (True, short)) as (one, two):
        sender: Any = one.ssh
        taker._chan = two.ssh
        taker.widen(True)
        one.write((bytes(1000),))
        await two.until(lambda: arrived(two, 1000))
        two.write((b"x",))  # behind its word
        await one.until(lambda: arrived(one, 1))
        assert sender._send_window > 15 * 1024 * 1024
        held: list[bytes] = []
        send, two.ssh_connection._send = two.ssh_connection._send, held.append
        for parcel in parcels(3, 8 * WINDOW):
            one.write((parcel,))
            await one.until(lambda: sender.get_write_buffer_size() == 0)
        await two.until(lambda: arrived(two, 8 * WINDOW))
        two.ssh_connection._send = send
        for data in held:
            send(data)
        taker.widen(False)
        one.got.clear()
        two.got.clear()
        await exchange(one, two, 1_000_000)
        assert two.ssh is not None and two.ssh.get_recv_window() == WINDOW


@pytest.mark.parametrize(("cipher", "far"), [*product((AES, CHACHA), (True, False))])
async def test_new_keys_in_the_middle_of_a_transfer_lose_nothing(cipher: str, far: bool) -> None:
    async with pair(cipher, (True, far), rekey_bytes=400_000) as (one, two):
        before = one.ssh_connection._send_encryption
        await exchange(one, two, 4_000_000)
        assert one.ssh_connection._send_encryption is not before, "no keys were exchanged, so nothing was tested"


@pytest.mark.parametrize("cipher", [AES, CHACHA])
async def test_a_flipped_bit_on_the_line_ends_the_session_and_is_not_delivered(cipher: str) -> None:
    async with pair(cipher, (False, True)) as (one, two):
        send = one.ssh_connection._send
        flipped: list[bool] = []

        def flip(data: bytes) -> None:
            if len(data) > 10_000 and not flipped:
                flipped.append(True)
                data = data[:5_000] + bytes((data[5_000] ^ 1,)) + data[5_001:]
            send(data)

        one.ssh_connection._send = flip
        one.write((bytes(20_000),))
        await two.until(lambda: two.lost is not None)
        assert flipped
        assert not two.got


async def test_a_packet_that_comes_byte_by_byte_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Shortcut.get_buffer
    monkeypatch.setattr(Shortcut, "get_buffer", lambda self, hint: whole(self, hint)[:1])
    async with pair(AES, (True, True)) as (one, two):
        one.write((b"x" * 3_000,))
        two.write((b"y" * 3_000,))
        await two.until(lambda: len(two.got) >= 3_000)
        await one.until(lambda: len(one.got) >= 3_000)
        assert (bytes(two.got), bytes(one.got)) == (b"x" * 3_000, b"y" * 3_000)


async def test_a_quiet_session_gives_its_large_buffer_back() -> None:
    async with pair(AES, (True, True)) as (one, two):
        one.write((bytes(200_000),))
        await two.until(lambda: len(two.got) == 200_000)
        receiver = two.sender
        assert isinstance(receiver, Shortcut)
        assert len(receiver._memory) > shortcut_module.SMALL
        for count in range(shortcut_module.CALM + 8):
            total = 200_000 + 4 * (count + 1)
            one.write((b"ping",))
            await two.until(partial(arrived, two, total))
        assert len(receiver._memory) == shortcut_module.SMALL


async def test_a_session_that_is_over_keeps_no_buffer() -> None:
    async with pair(AES, (True, True)) as (one, two):
        one.write((bytes(200_000),))
        await two.until(lambda: len(two.got) == 200_000)
        one.ssh_connection.abort()
        await two.until(lambda: two.lost is not None)
        assert isinstance(two.sender, Shortcut)
        assert not two.sender._memory


async def test_an_asyncssh_that_is_not_as_we_know_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shortcut_module._USED, "channel", "_no_such_name")
    async with pair(AES, (False, False)) as (one, two):
        assert not shorten(one.ssh_connection, (one,), lambda _: None)
        await exchange(one, two, 500_000)
