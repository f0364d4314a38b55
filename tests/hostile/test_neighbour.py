"""Neighbours that are authenticated and hostile or broken: blame is exact, and nothing wrong is stored."""

import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Iterator

import anyio
import pytest
from faults.malformed import Thrower
from fleet import Board, Fleet, until
from hostile.evil import HANDLE, Evil, evil_to

from dfedge.core.image.cutter import cut
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame, Kind
from dfedge.transfer.member import MOST_SWARMS

pytestmark = pytest.mark.anyio

IMAGE = 4 * 1024 * 1024
PIECES = 64


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("hostile"))
    try:
        for name in ("seed", "victim", "forger"):
            fleet.board(name)
        fleet.boards[0].settings["DFEDGE_THROTTLE_MAX_UP"] = "4 MB/s"  # slow enough for others to have their say
        for board in fleet.boards[:2]:
            board.start()
        (fleet.folder / "gateway.img").write_bytes(os.urandom(IMAGE))
        fleet.boards[0].ask("publish", str(fleet.folder / "gateway.img"), "--name", "gateway", "--version", "1")
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def seed(fleet: Fleet) -> Board:
    return fleet.boards[0]


@pytest.fixture
def own(fleet: Fleet) -> Board:
    """An identity of its own for each test, as three mistakes ban it."""
    return fleet.board(f"evil-{len(fleet.boards)}")


async def _image(evil: Evil) -> m.Entry:
    catalogue = await evil.heard(m.Catalogue)
    assert isinstance(catalogue, m.Catalogue)
    return catalogue.entries[0]


MISTAKES = {
    "a second hello": codec.frame(m.Hello(1, b"b" * 16, "f", 1, 0, "x", b"", b"")),
    "a length of four GiB": b"\xff\xff\xff\xff",
    "an empty message": b"\x00\x00\x00\x00",
    "a message that is no msgpack": b"\x00\x00\x00\x02\xc1\xc1",
    "an unknown tag": b"\x00\x00\x00\x02\x91\x7f",
    "a map": b"\x00\x00\x00\x01\x80",
    "five hundred levels": len(b"\x91" * 500 + b"\x01").to_bytes(4, "big") + b"\x91" * 500 + b"\x01",
    "a number in two spellings": b"\x00\x00\x00\x04\x92\x08\xcc\x01",
    "true for one": b"\x00\x00\x00\x03\x92\x08\xc3",
    "a have of no handle": codec.frame(m.Have(3, False, (0,))),
    "a manifest nobody asked for": codec.frame(m.ManifestPart(b"i" * 32, 0, 1, b"", b"x")),
    "a revocation list by nobody": codec.frame(m.Revoked(b"nonsense")),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_broken_message_ends_that_one_session_with_a_reason(name: str, seed: Board, own: Board) -> None:
    async with evil_to(seed, own) as evil:
        evil.raw(MISTAKES[name])
        assert await evil.thrown_out()
    until(lambda: "victim" in seed.connected(), "the good neighbour to be connected still")


BULK_MISTAKES = {
    "an unknown kind": b"\x09" + bytes(19),
    "flags": b"\x01\x01" + bytes(18),
    "an endless block": Frame(Kind.BLOCK, 0, 1, 0, 0, 65536).encode(),
    "a reject of nothing": Frame(Kind.REJECT, 0, 1, 0, 0, 65536).encode(),
    "a request of no bytes": b"\x01" + bytes(19),
}


@pytest.mark.parametrize("name", BULK_MISTAKES)
async def test_a_broken_frame_ends_that_one_session(name: str, seed: Board, own: Board) -> None:
    async with evil_to(seed, own) as evil:
        evil.raw_bulk(BULK_MISTAKES[name])
        assert await evil.thrown_out()


async def test_pieces_outside_the_image_cannot_be_asked_for(seed: Board, own: Board) -> None:
    async with evil_to(seed, own) as evil:
        image = (await _image(evil)).image
        evil.send(m.Join(HANDLE, image, False, bytes(PIECES // 8)))
        await evil.heard(m.Unchoke)
        evil.raw_bulk(Frame(Kind.REQUEST, HANDLE, 1, 4000, 0, 1000).encode())
        assert "beyond" in await evil.thrown_out()


async def test_a_flood_of_requests_is_cut_off(seed: Board, own: Board) -> None:
    async with evil_to(seed, own) as evil:
        image = (await _image(evil)).image
        evil.send(m.Join(HANDLE, image, False, bytes(PIECES // 8)))
        await evil.heard(m.Unchoke)
        evil.bulk._chan.pause_reading()  # type: ignore[union-attr]
        evil.raw_bulk(b"".join(Frame(Kind.REQUEST, HANDLE, n, 0, 0, 65536).encode() for n in range(5000)))
        assert "at once" in await evil.thrown_out()


async def test_a_hundred_swarms_at_once_are_too_many(seed: Board, own: Board) -> None:
    async with evil_to(seed, own) as evil:
        for number in range(MOST_SWARMS + 1):
            evil.send(m.Join(number, bytes([number]) * 32, False, b""))
        assert f"in more than {MOST_SWARMS} swarms" in await evil.thrown_out()


async def test_no_third_channel_and_no_shell_is_opened(seed: Board, own: Board) -> None:
    import asyncssh

    async with evil_to(seed, own) as evil:
        conn = evil.connection._ssh
        assert isinstance(conn, asyncssh.SSHClientConnection)
        with pytest.raises(asyncssh.ChannelOpenError):
            await conn.create_session(asyncssh.SSHClientSession, "sh")
        with pytest.raises(asyncssh.ChannelOpenError):
            await conn.open_connection("127.0.0.1", 22)


async def test_a_liar_is_banned_after_three_pieces_and_the_image_comes_from_the_others(
    fleet: Fleet, own: Board
) -> None:
    victim = fleet.boards[1]
    async with evil_to(victim, own) as evil:
        async with evil_to(fleet.boards[0], own) as spy:
            entry = await _image(spy)
        evil.serve = lambda frame: os.urandom(frame.length)
        evil.send(m.Catalogue((entry,)))
        got: dict[str, object] = {}
        target = fleet.folder / "liar.out"
        thread = threading.Thread(target=lambda: got.update(victim.ask("get", "gateway:1", "-o", str(target))))
        thread.start()
        join = await evil.heard(m.Join)
        assert isinstance(join, m.Join)
        evil.send(m.Join(HANDLE, entry.image, True, PieceMap.full(PIECES).encode()), m.Unchoke(HANDLE))
        await evil.thrown_out()
        await anyio.to_thread.run_sync(thread.join)
        assert f"banned peer={own.name} reason=3 different pieces" in victim.said
        assert target.read_bytes() == (fleet.folder / "gateway.img").read_bytes()
        bad = got["bad_pieces"]
        assert isinstance(bad, list)
        assert len(bad) >= 3
    rows = {row["id"]: row for row in victim.ask("peers")["peers"]}
    banned = rows[evil.id]
    assert banned["state"] == "banned" and banned["banned_until"] and "did not match" in banned["reason"]
    assert {row["name"] for row in rows.values() if row["state"] == "connected"} == {"seed"}


async def test_mutated_frames_crash_nothing(seed: Board, fleet: Fleet) -> None:
    thrower = Thrower(fleet)
    await thrower.throw(random.Random(7), 60)
    assert thrower.banned and not thrower.early
    assert "Traceback" not in seed.said
    until(lambda: "victim" in seed.connected(), "the good neighbour to be connected")


def _signed(fleet: Fleet, manifest: Manifest, namespace: str = "dfedge-manifest@v1", key: str = "signer") -> bytes:
    path = fleet.folder / "to-sign"
    path.write_bytes(manifest.encode())
    path.with_suffix(".sig").unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(fleet.operator / key), str(path)], check=True
    )
    return path.with_suffix(".sig").read_bytes()


def _manifest(fleet_id: str, name: str) -> Manifest:
    entry = FileEntry("a", 5000, b"d" * 32, "application/octet-stream", 0o644, cut(5000, 65536), b"p" * 32)
    return Manifest(fleet_id, name, "1", (), 1_700_000_000, (entry,))


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("nothing", "untrusted"),
        ("garbage", "untrusted"),
        ("other namespace", "untrusted"),
        ("other signer", "untrusted"),
        ("other fleet", "untrusted"),
        ("other bytes", "corrupt"),
    ],
)
async def test_a_manifest_that_does_not_hold_is_not_taken(what: str, code: str, fleet: Fleet) -> None:
    victim, own = fleet.boards[1], fleet.boards[2]
    name = "bad-" + what.replace(" ", "-")
    async with evil_to(victim, own) as evil:
        manifest = _manifest("x" * 32 if what == "other fleet" else evil._trust.fleet, name)
        raw = manifest.encode()
        signature = {
            "nothing": b"",
            "garbage": b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
        }.get(what)
        if signature is None:
            namespace = "git" if what == "other namespace" else "dfedge-manifest@v1"
            signature = _signed(fleet, manifest, namespace, "ca" if what == "other signer" else "signer")
        image = hashlib.sha256(raw).digest()
        sent = raw + b"\x00" if what == "other bytes" else raw
        evil.send(m.Catalogue((m.Entry(image, name, "1", 1, 5000, 5000),)))
        result: list[object] = []

        async def ask() -> None:
            result.append(await anyio.to_thread.run_sync(lambda: victim.run("get", f"{name}:1", "--timeout", "3s")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await evil.heard(m.AskManifest)
            evil.send(m.ManifestPart(image, 0, len(sent), signature, sent))
        done = result[0]
        assert done.returncode == 1  # type: ignore[attr-defined]
        assert f"[{code}]" in done.stderr  # type: ignore[attr-defined]
        assert "forger" in done.stderr  # type: ignore[attr-defined]
    assert not [row for row in victim.ask("ls")["images"] if row["name"] == name]
