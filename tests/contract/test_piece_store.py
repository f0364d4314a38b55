"""What the wire may rely on, whoever stores the pieces: the store on disk, and the fake that other tests use."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt
from dfedge.core.image.manifest import FileEntry, Manifest, image_id
from dfedge.core.image.outcome import Outcome
from dfedge.store.store import Store
from dfedge.transfer.ports import PieceStore

from .fake_store import FakeStore

pytestmark = pytest.mark.anyio

PIECE = 4096
DATA = random.Random(1).randbytes(5 * PIECE) + 2 * PIECE * b"\xff" + b"tail"


def _manifest() -> Manifest:
    pieces = [DATA[at : at + PIECE] for at in range(0, len(DATA), PIECE)]
    digests = b"".join(sha256(piece).digest() for piece in pieces)
    runs = ((PIECE, 7), (4, 1))
    entry = FileEntry("fw.bin", len(DATA), sha256(DATA).digest(), "application/octet-stream", 0o644, runs, digests)
    return Manifest("fleet", "gateway-os", "2.4.1", (), 0, (entry,))


@dataclass
class Bench:
    pieces: PieceStore
    spoil: Callable[[int], None]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "state", None, 0, lambda: 0.0)
    yield store
    store.close()


@pytest.fixture(params=["fake", "disk", "disk, finished"])
async def bench(request: pytest.FixtureRequest, opened: Store, tmp_path: Path) -> Bench:
    manifest = _manifest()
    if request.param == "fake":
        fake = FakeStore(manifest)
        return Bench(fake, fake.spoil)
    raw = manifest.encode()
    partial = await opened.begin(manifest, raw, b"signature", "alice")
    file = tmp_path / "state/partial" / image_id(raw).hex() / manifest.files[0].digest.hex()
    blob = tmp_path / "state/blobs/sha256" / manifest.files[0].digest.hex()
    if request.param == "disk, finished":
        # a whole image in which what a test puts has rotted before
        for piece in range(manifest.pieces):
            await partial.put(piece, [_data(piece)])
        await partial.finish()
        _write(blob, bytes(len(DATA)))
        for piece in range(manifest.pieces):
            await partial.recheck(piece)
        partial = await opened.begin(manifest, raw, b"signature", "alice")
    return Bench(partial, lambda piece: _write(file, b"rotten", piece * PIECE))


def _write(file: Path, data: bytes, offset: int = 0) -> None:
    file.chmod(0o600)
    with file.open("r+b") as out:
        out.seek(offset)
        out.write(data)


def _data(piece: int) -> bytes:
    return DATA[piece * PIECE : (piece + 1) * PIECE]


async def test_an_empty_store_holds_nothing(bench: Bench) -> None:
    assert len(bench.pieces.holds) == 0 == bench.pieces.held_bytes
    assert bench.pieces.manifest == _manifest()


async def test_a_good_piece_is_held_and_read_back(bench: Bench) -> None:
    assert await bench.pieces.put(1, [_data(1)[:1000], b"", _data(1)[1000:]]) is Outcome.STORED
    assert set(bench.pieces.holds) == {1} and bench.pieces.held_bytes == PIECE
    assert bench.pieces.read(1, 0, PIECE) == _data(1)
    assert bench.pieces.read(1, 4000, 96) == _data(1)[4000:]
    assert await bench.pieces.prove(1) and await bench.pieces.recheck(1)


async def test_a_piece_that_comes_again_is_a_duplicate(bench: Bench) -> None:
    await bench.pieces.put(1, [_data(1)])
    assert await bench.pieces.put(1, [_data(1)]) is Outcome.DUPLICATE
    assert await bench.pieces.put(1, [b"wrong"]) is Outcome.DUPLICATE


@pytest.mark.parametrize("blocks", [[], [b"x" * PIECE], [_data(1)[:-1]], [_data(1), b"x"], [_data(2)]])
async def test_a_piece_that_does_not_match_is_not_held(bench: Bench, blocks: list[bytes]) -> None:
    assert await bench.pieces.put(1, blocks) is Outcome.MISMATCH
    assert 1 not in bench.pieces.holds
    assert not await bench.pieces.prove(1) and not await bench.pieces.recheck(1)


async def test_the_live_map_is_one_object(bench: Bench) -> None:
    holds = bench.pieces.holds
    await bench.pieces.put(7, [_data(7)])
    assert 7 in holds and bench.pieces.holds is holds


async def test_twins_are_stored_together(bench: Bench) -> None:
    assert set(bench.pieces.twins(5)) == {5, 6} and list(bench.pieces.twins(1)) == [1]
    assert await bench.pieces.put(6, [_data(6)]) is Outcome.STORED
    assert set(bench.pieces.holds) == {5, 6} and bench.pieces.held_bytes == 2 * PIECE
    assert bench.pieces.read(5, 0, PIECE) == _data(5)


async def test_what_is_not_held_or_out_of_range_cannot_be_read(bench: Bench) -> None:
    with pytest.raises(Corrupt):
        bench.pieces.read(1, 0, 1)
    await bench.pieces.put(7, [_data(7)])
    with pytest.raises(Corrupt):
        bench.pieces.read(7, 0, 5)


async def test_a_piece_that_rotted_is_found_by_a_recheck_and_can_come_again(bench: Bench) -> None:
    await bench.pieces.put(2, [_data(2)])
    await bench.pieces.put(3, [_data(3)])
    bench.spoil(2)
    assert not await bench.pieces.recheck(2)
    assert set(bench.pieces.holds) == {3} and bench.pieces.held_bytes == PIECE
    assert await bench.pieces.put(2, [_data(2)]) is Outcome.STORED
    assert await bench.pieces.recheck(2)
