"""How authenticated neighbours may misbehave in a swarm: the image arrives all the same, blame falls where it must."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import asyncssh
import pytest
from fleet import Board, Fleet
from hostile.evil import HANDLE, Evil, evil_to
from hostile.relay import Relay

from dfedge.core.image.cutter import piece_size
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.ssh import CONTROL
from dfedge.trust.nodetrust import NodeTrust

pytestmark = pytest.mark.anyio

IMAGE: Final = 4 * 1024 * 1024
PIECE: Final = 65536
PIECES: Final = IMAGE // PIECE
BIG: Final = 24 * 1024 * 1024  # at 4 MB/s it takes longer than anybody is waited for
NONSENSE: Final = b"\x00\x00\x00\x02\xc1\xc1"


class Stage:
    """A seed that is slow enough for others to have their say, a victim that fetches, and what it fetches."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.seed, self.victim = self.fleet.board("seed"), self.fleet.board("victim")
        self.seed.settings["DFEDGE_THROTTLE_MAX_UP"] = "4 MB/s"
        self.data = os.urandom(IMAGE)
        (folder / "image").write_bytes(self.data)

    def start(self) -> None:
        self.seed.start()
        self.victim.start()
        self.seed.ask("publish", str(self.fleet.folder / "image"), "--name", "image", "--version", "1")
        self.image = self._digest("image")

    def add_big(self) -> None:
        """Publish a second, larger image."""
        (self.fleet.folder / "big").write_bytes(os.urandom(BIG))
        self.seed.ask("publish", str(self.fleet.folder / "big"), "--name", "big", "--version", "1")
        self.big = self._digest("big")

    def _digest(self, name: str) -> bytes:
        row = next(row for row in self.seed.ask("ls")["images"] if row["name"] == name)
        return bytes.fromhex(row["image"].removeprefix("sha256:"))

    def newcomer(self) -> Board:
        """An identity of its own for each test."""
        return self.fleet.board(f"evil-{len(self.fleet.boards)}")

    def block(self, frame: Frame) -> bytes:
        """The right bytes of a block."""
        start = frame.piece * PIECE + frame.offset
        return self.data[start : start + frame.length]

    async def fetch(self) -> dict[str, Any]:
        """Let the victim fetch the image anew; returns the result, after a look at the bytes."""
        await self.forget()
        out = self.fleet.folder / "out"
        result: dict[str, Any] = await anyio.to_thread.run_sync(
            lambda: self.victim.ask("get", "image:1", "-o", str(out), "--force")
        )
        assert out.read_bytes() == self.data and result["bytes_fetched"] == IMAGE
        return result

    async def forget(self) -> None:
        """Let the victim drop the image and leave its swarm; what was joined before is void then."""
        await anyio.to_thread.run_sync(lambda: self.victim.run("rm", "image:1"))

    def row(self, board: Board, evil: Evil) -> dict[str, Any]:
        """What a board says of the evil peer."""
        rows: list[dict[str, Any]] = board.ask("peers")["peers"]
        return next(row for row in rows if row["id"] == evil.id)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("conduct"))
    try:
        stage.start()
        yield stage
    finally:
        stage.fleet.stop()


def _offer(evil: Evil, image: bytes, size: int = IMAGE, name: str = "image") -> None:
    """Claim to hold an image whole; before the victim takes part, or it counts for what is over."""
    evil.send(m.Catalogue((m.Entry(image, name, "1", 1, size, size),)))
    evil.send(m.Join(HANDLE, image, True, PieceMap.full(size // piece_size(size, 0)).encode()), m.Unchoke(HANDLE))


async def _be_served(evil: Evil, stage: Stage) -> None:
    evil.send(m.Join(HANDLE, stage.image, False, bytes(PIECES // 8)))
    await evil.heard(m.Unchoke)


def _ask(piece: int, request: int = 1, handle: int = HANDLE) -> bytes:
    return Frame(Kind.REQUEST, handle, request, piece, 0, PIECE).encode()


# What bans


async def test_three_sessions_that_end_by_its_mistakes_shut_a_node_out_and_peers_says_why(stage: Stage) -> None:
    own = stage.newcomer()
    for _ in range(3):
        async with evil_to(stage.seed, own) as evil:
            evil.raw(NONSENSE)
            await evil.thrown_out()
    row = stage.row(stage.seed, evil)
    assert row["state"] == "banned" and row["banned_until"]
    assert "3 sessions in 10 min ended by its mistakes" in row["reason"] and "not a message" in row["reason"]
    async with evil_to(stage.seed, own) as evil:
        assert "banned for 3," in await evil.thrown_out()
    assert "victim" in stage.seed.connected()


async def test_an_answer_sent_twice_ends_the_session_and_wrong_order_does_not(stage: Stage) -> None:
    async with evil_to(stage.victim, stage.newcomer()) as evil:
        held: list[Frame] = []

        def backwards(frame: Frame) -> bytes | None:
            held.append(frame)
            if len(held) == 2:  # the later one first
                for each in reversed(held):
                    evil.answer(each, stage.block(each))
                held.clear()
            return None

        evil.serve = backwards
        await stage.forget()
        _offer(evil, stage.image)
        result = await stage.fetch()
        assert evil.id in {peer["id"] for peer in result["peers"]}
        assert not evil.closed.is_set() and not result["bad_pieces"]

    async with evil_to(stage.victim, stage.newcomer()) as evil:

        def twice(frame: Frame) -> bytes:
            evil.answer(frame, stage.block(frame))
            return stage.block(frame)

        evil.serve = twice
        await stage.forget()
        _offer(evil, stage.image)
        await stage.fetch()
        assert "which we did not make" in await evil.thrown_out()


async def test_a_piece_map_of_another_length_ends_the_session(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        evil.send(m.Join(HANDLE, stage.image, True, bytes(PIECES)))
        assert "piece map" in await evil.thrown_out()


@pytest.mark.parametrize("what", ["have", "ping", "catalogue"])
async def test_a_flood_of_messages_is_cut_off(what: str, stage: Stage) -> None:
    flood = {
        "have": codec.frame(m.Have(HANDLE, False, (1,))),
        "ping": codec.frame(m.Ping(1)),
        "catalogue": codec.frame(m.Catalogue((m.Entry(stage.image, "x", "1", 1, 1, 1),))),
    }[what]
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        await _be_served(evil, stage)
        evil.raw(flood * 20_200)
        assert "more than 20,000 times in 10 s" in await evil.thrown_out()
    assert "victim" in stage.seed.connected()


async def test_asking_on_for_what_it_may_not_have_is_cut_off(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        await _be_served(evil, stage)
        for start in range(0, 10_100, 100):
            evil.raw_bulk(b"".join(_ask(0, start + n, handle=99) for n in range(100)))
            await anyio.lowlevel.checkpoint()
        assert "asks for what it may not have more than 10,000 times" in await evil.thrown_out()


async def test_the_record_of_another_node_is_not_taken_for_its_own(stage: Stage) -> None:
    other = NodeTrust.open(stage.victim.state).own_record
    own = stage.newcomer()
    async with evil_to(stage.seed, own, record=other) as evil:
        assert "the certificate is of" in await evil.thrown_out()
    names = [row["name"] for row in stage.seed.ask("peers")["peers"] if row["state"] == "connected"]
    assert names.count("victim") == 1


# What does not


async def test_who_promises_and_does_not_deliver_is_snubbed_and_not_banned(stage: Stage) -> None:
    stage.add_big()
    silent_own, slow_own = stage.newcomer(), stage.newcomer()
    async with (
        evil_to(stage.victim, silent_own) as silent,
        evil_to(stage.victim, slow_own) as slow,
        anyio.create_task_group() as tasks,
    ):

        async def drip(frame: Frame) -> None:
            slow.raw_bulk(Frame(Kind.BLOCK, *_numbers(frame)).encode())
            while not slow.closed.is_set():
                slow.raw_bulk(b"x")
                await anyio.sleep(1)

        asked: list[Frame] = []

        def serve(frame: Frame) -> None:
            asked.append(frame)
            if len(asked) == 1:
                tasks.start_soon(drip, frame)

        slow.serve = serve
        for evil in (silent, slow):
            _offer(evil, stage.big, BIG, "big")
        out = stage.fleet.folder / "big.out"
        result = await anyio.to_thread.run_sync(lambda: stage.victim.ask("get", "big:1", "-o", str(out)))
        assert asked and out.read_bytes() == (stage.fleet.folder / "big").read_bytes()
        assert not result["bad_pieces"] and len(result["peers"]) == 1
        for evil in (silent, slow):
            assert f"snubbed peer={evil.name} reason=owes" in stage.victim.said
            assert stage.row(stage.victim, evil)["state"] in ("connected", "snubbed")
        tasks.cancel_scope.cancel()


async def test_who_claims_pieces_that_it_has_not_costs_nothing_but_questions(stage: Stage) -> None:
    async with evil_to(stage.victim, stage.newcomer()) as evil:
        asked: list[Frame] = []

        def refuse(frame: Frame) -> None:
            asked.append(frame)
            evil.raw_bulk(Frame(Kind.REJECT, *_numbers(frame)).encode())

        evil.serve = refuse
        await stage.forget()
        _offer(evil, stage.image)
        result = await stage.fetch()
        assert asked and result["bytes_wasted"] == 0
        assert stage.row(stage.victim, evil)["state"] == "connected"


async def test_who_asks_for_the_same_block_over_and_over_gets_its_turn_and_no_more(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        await _be_served(evil, stage)
        evil.raw_bulk(b"".join(_ask(5, n) for n in range(1000)))
        result = await stage.fetch()
        assert {peer["id"] for peer in result["peers"]} == {NodeTrust.open(stage.seed.state).own_id}
        assert not evil.closed.is_set()


async def test_pieces_that_it_does_not_hold_are_refused_without_a_fuss(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        await evil.heard(m.Catalogue)
        evil.raw_bulk(_ask(0, 1, handle=3))  # before it joined: the channels are not in step
        with anyio.fail_after(10):
            while not evil.rejects:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert not evil.closed.is_set()


async def test_false_complaints_about_good_pieces_harm_nobody(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        await _be_served(evil, stage)
        evil.send(*(m.Bad(HANDLE, piece) for piece in range(PIECES)), m.Bad(HANDLE, 499_999))
        result = await stage.fetch()
        assert not result["bad_pieces"]
        assert stage.seed.ask("status")["degraded"] is None
        assert "rotten" not in stage.seed.said
        assert stage.row(stage.seed, evil)["state"] == "connected"


async def test_contacts_that_point_outside_the_lan_are_not_dialled(stage: Stage) -> None:
    record = NodeTrust.open(stage.newcomer().state).own_record  # a good one: it is the address that is a lie
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        hosts = ("203.0.113.7", "2001:db8::7", "fe80::7", "127.0.0.1", "0.0.0.0", "224.0.0.251", "kiosk.example")
        evil.send(m.Contacts(tuple(m.Contact(record, host, 22) for host in hosts)))
        evil.send(m.Ping(7))
        await evil.heard(m.Pong)
        told = [address for row in stage.seed.ask("peers")["peers"] for address in row["addresses"]]
        assert not [address for address in told if address.endswith(":22")]


async def test_five_hundred_channels_are_not_opened(stage: Stage) -> None:
    async with evil_to(stage.seed, stage.newcomer()) as evil:
        conn = evil.connection._ssh
        assert isinstance(conn, asyncssh.SSHClientConnection)
        refused = 0
        for _ in range(500):
            with pytest.raises(asyncssh.ChannelOpenError):
                await conn.create_session(asyncssh.SSHClientSession, subsystem=CONTROL)
            refused += 1
        assert refused == 500 and not evil.closed.is_set()
    assert "victim" in stage.seed.connected()


async def test_no_compression_is_agreed_on(stage: Stage) -> None:
    trust = NodeTrust.open(stage.newcomer().state)

    async def greeted(**offer: list[str]) -> bool:
        try:
            async with asyncssh.connect(
                "127.0.0.1", stage.seed.port, username=trust.own_id, client_keys=list(trust.user_keys()), config=None,
                known_hosts=None, agent_path=None, **offer,
            ):  # fmt: skip
                return True
        except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost):  # lost, where the seed hung up first
            return False

    assert not await greeted(compression_algs=["zlib@openssh.com"])
    assert await greeted(compression_algs=["none"])


async def test_a_line_that_flips_bits_is_nobodys_fault(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with Relay(stage.seed.port, every=1024 * 1024, flips=3) as relay:
        stage.victim.peers = [f"127.0.0.1:{relay.port}"]
        try:
            stage.seed.settings.clear()
            stage.start()
            result = await stage.fetch()
            assert relay.flipped >= 1  # the seed may dial in return, past the relay
            assert not result["bad_pieces"]
            for board in (stage.seed, stage.victim):
                rows = board.ask("peers")["peers"]
                assert not [row for row in rows if row["state"] == "banned" or row["banned_until"]]
                assert "peer failed" not in board.said and "bad piece" not in board.said
                assert "Traceback" not in board.said
        finally:
            stage.fleet.stop()


async def test_after_all_this_nothing_crashed(stage: Stage) -> None:
    assert "Traceback" not in stage.seed.said + stage.victim.said


def _numbers(frame: Frame) -> tuple[int, int, int, int, int]:
    return frame.handle, frame.request, frame.piece, frame.offset, frame.length
