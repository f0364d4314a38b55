"""What a user keeps of a fetch, whatever happens in the middle of it.

Long, as it goes through one object's every promise.
"""

import errno
import os
from pathlib import Path

import anyio
import pytest

from dfedge.core.errors import Corrupt, NoSpace, Refused
from dfedge.core.image.outcome import Outcome
from dfedge.store.journal import HEADER, RECORD
from dfedge.store.store import Store

from .conftest import OpenStore
from .firmware import PIECE, entry, firmware, noise

pytestmark = pytest.mark.anyio


async def test_a_fetched_image_is_whole_read_only_and_in_its_place(store: Store, state: Path) -> None:
    fw = firmware()
    await fw.fetch(store)
    blob = state / "blobs/sha256" / fw.manifest.files[0].digest.hex()
    assert blob.read_bytes() == fw.files["fw.bin"] and blob.stat().st_mode & 0o777 == 0o444
    assert not list((state / "partial").iterdir())
    (image,) = store.images()
    assert (image.complete, image.held, image.signer) == (True, fw.manifest.size, "alice")
    assert store.manifest_files(fw.image) == (fw.raw, b"signature of it")


async def test_a_piece_that_does_not_match_never_reaches_the_image(open_store: OpenStore) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    assert await partial.put(3, [b"x" * PIECE]) is Outcome.MISMATCH
    assert await partial.put(3, [fw.piece(3)[:-1]]) is Outcome.MISMATCH
    assert await partial.put(3, [fw.piece(3) + b"x"]) is Outcome.MISMATCH
    assert await partial.put(3, []) is Outcome.MISMATCH
    assert 3 not in partial.holds and partial.held_bytes == 0
    await partial.flush()
    assert not (await fw.begin(open_store())).holds


async def test_journalled_pieces_are_not_fetched_again_after_a_restart(open_store: OpenStore) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial, [0, 4, 10])
    await partial.flush()
    again = await fw.begin(open_store())
    assert set(again.holds) == {0, 4, 10}
    assert again.reused == again.held_bytes == 2 * PIECE + 123
    await fw.put(again)
    await again.finish()
    assert open_store().images()[0].complete


async def test_pieces_not_yet_journalled_are_hashed_again_and_the_good_ones_kept(
    open_store: OpenStore, state: Path
) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial, [0, 1])
    await partial.flush()
    await fw.put(partial, [2, 5])
    file = state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex()
    with file.open("r+b") as spoilt:
        spoilt.seek(5 * PIECE + 7)
        spoilt.write(b"torn")
    again = await fw.begin(open_store())
    assert set(again.holds) == {0, 1, 2}


async def test_zeros_are_held_from_the_start_and_take_no_room(open_store: OpenStore, state: Path) -> None:
    fw = firmware({"disk.img": noise(2 * PIECE) + bytes(300 * PIECE) + noise(PIECE, seed=1) + bytes(7)})
    partial = await fw.begin(open_store())
    assert set(partial.holds) == set(range(2, 302)) and partial.reused == 300 * PIECE
    assert await partial.prove(2) and partial.read(301, 0, PIECE) == bytes(PIECE)
    await fw.put(partial, [0])
    again = await fw.begin(open_store())  # as after a crash
    assert set(again.holds) == {0, *range(2, 302)}
    await fw.put(again)
    await again.finish()
    blob = state / "blobs/sha256" / fw.manifest.files[0].digest.hex()
    assert blob.read_bytes() == fw.files["disk.img"] and blob.stat().st_blocks * 512 < 10 * PIECE


async def test_what_was_cut_off_is_not_taken_for_zeros(open_store: OpenStore, state: Path) -> None:
    fw = firmware({"disk.img": noise(PIECE) + bytes(8 * PIECE)})
    store = open_store()
    await fw.fetch(store)
    blob = state / "blobs/sha256" / fw.manifest.files[0].digest.hex()
    blob.chmod(0o600)
    os.truncate(blob, 3 * PIECE)
    assert not await store.open_image(fw.image).recheck(5)


@pytest.mark.parametrize("harm", ["torn", "header", "gone"])
async def test_a_broken_journal_costs_hashing_but_no_fetching(open_store: OpenStore, state: Path, harm: str) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial, [1, 2, 3])
    await partial.flush()
    journal = state / "partial" / fw.image.hex() / "journal"
    data = journal.read_bytes()
    if harm == "gone":
        journal.unlink()
    else:
        journal.write_bytes(data[: HEADER + RECORD + 3] if harm == "torn" else b"?" + data[1:])
    again = await fw.begin(open_store())
    assert set(again.holds) == {1, 2, 3}
    await fw.put(again)
    await again.finish()


async def test_a_journal_without_its_file_is_not_believed(open_store: OpenStore, state: Path) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial, [1, 2])
    await partial.flush()
    (state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex()).unlink()
    again = await fw.begin(open_store())
    assert not again.holds
    await fw.put(again)
    await again.finish()


async def test_pieces_put_at_once_all_arrive_and_each_once(store: Store) -> None:
    fw = firmware({"fw.bin": noise(40 * PIECE)})
    partial = await fw.begin(store)
    outcomes = []

    async def put(piece: int) -> None:
        outcomes.append(await partial.put(piece, fw.blocks(piece)))

    async with anyio.create_task_group() as tasks:
        for piece in [*range(40), *range(40)]:
            tasks.start_soon(put, piece)
    assert outcomes.count(Outcome.STORED) == outcomes.count(Outcome.DUPLICATE) == 40
    await partial.finish()


async def test_pieces_read_where_they_are_proven_all_arrive_and_a_bad_one_does_not(store: Store) -> None:
    fw = firmware({"fw.bin": noise(40 * PIECE)})
    partial = await fw.begin(store)
    given = [(piece, b"".join(fw.blocks(piece))) for piece in range(40)]
    given.insert(20, (20, noise(PIECE, seed=9)))
    outcomes: list[tuple[int, int, Outcome]] = []

    async def put() -> None:
        while (done := await partial.put_next(lambda: given.pop(0) if given else None)) is not None:
            outcomes.append(done)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(put)
    assert (20, PIECE, Outcome.MISMATCH) in outcomes
    assert sorted(piece for piece, _, outcome in outcomes if outcome is Outcome.STORED) == list(range(40))
    await partial.finish()


async def test_a_full_disk_is_named_by_whoever_reads_and_writes_in_one_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", _failing(errno.ENOSPC))
        with pytest.raises(NoSpace, match="piece 1 can't be written: no space left on device"):
            await partial.put_next(lambda: (1, b"".join(fw.blocks(1))))
    assert not partial.holds and store.degraded
    assert await partial.put_next(lambda: (1, b"".join(fw.blocks(1)))) == (1, PIECE, Outcome.STORED)


async def test_a_cancelled_put_leaves_a_whole_piece_or_none(store: Store) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    for piece in range(fw.manifest.pieces):
        with anyio.move_on_after(0):
            await partial.put(piece, fw.blocks(piece))
    for piece in partial.holds:
        assert await partial.recheck(piece)
    await fw.put(partial)
    await partial.finish()


async def test_the_same_file_twice_is_stored_and_fetched_once(store: Store, state: Path) -> None:
    data = noise(3 * PIECE + 5)
    fw = firmware({"a.bin": data, "b/c.bin": data, "d.bin": noise(PIECE, seed=2)})
    partial = await fw.begin(store)
    await fw.put(partial, [0, 1, 2, 3, 8])
    assert partial.holds.complete and partial.held_bytes == fw.manifest.size
    await partial.finish()
    assert len(list((state / "blobs/sha256").iterdir())) == 2


async def test_padding_crosses_the_wire_once(open_store: OpenStore) -> None:
    zero = bytes(PIECE)
    fw = firmware({"fw.bin": zero * 5 + noise(PIECE) + zero * 3, "pad.bin": zero * 2 + b"end"})
    partial = await fw.begin(open_store())
    assert set(partial.twins(2)) == {0, 1, 2, 3, 4, 6, 7, 8, 9, 10}
    await fw.put(partial, [2])
    assert len(partial.holds) == 10
    await partial.flush()
    again = await fw.begin(open_store())
    assert len(again.holds) == 10
    await fw.put(again, [5, 11])
    await again.finish()


async def test_files_cut_differently_but_alike_in_bytes_share_one_place(store: Store) -> None:
    data = noise(6 * PIECE)
    entries = (entry("a", data), entry("b", data, piece=2 * PIECE))
    fw = firmware({"a": data, "b": data}, entries=entries)
    await fw.fetch(store)
    assert (await store.verify(fw.image)).bad == ()


async def test_empty_files_are_stored(store: Store, state: Path) -> None:
    fw = firmware({"empty": b"", "also": b""})
    partial = await fw.begin(store)
    assert partial.holds.complete
    await partial.finish()
    assert [path.stat().st_size for path in (state / "blobs/sha256").iterdir()] == [0]


async def test_a_file_another_image_has_is_not_fetched(store: Store) -> None:
    common = noise(4 * PIECE)
    await firmware({"common": common}).fetch(store)
    fw = firmware({"common": common, "new": noise(PIECE, seed=3)}, version="2.4.2")
    partial = await fw.begin(store)
    assert partial.reused == 4 * PIECE and list(partial.holds.missing()) == [4]
    await fw.put(partial, [4])
    await partial.finish()
    assert all(image.complete for image in store.images())


async def test_an_image_of_known_files_is_complete_at_once(store: Store) -> None:
    files = {"a": noise(PIECE), "b": noise(PIECE, seed=1)}
    await firmware(files).fetch(store)
    fw = firmware(files, version="2.4.2")
    partial = await fw.begin(store)
    await partial.finish()
    assert partial.reused == fw.manifest.size and [image.complete for image in store.images()] == [True, True]


async def test_a_publisher_whose_whole_file_digest_is_wrong_is_told_apart(store: Store, state: Path) -> None:
    data = noise(3 * PIECE)
    fw = firmware({"fw.bin": data}, entries=(entry("fw.bin", data, digest=b"\1" * 32),))
    partial = await fw.begin(store)
    await fw.put(partial)
    with pytest.raises(Corrupt, match=r"every piece of 'fw.bin' matches, but the whole file does not"):
        await partial.finish()
    assert not list((state / "blobs/sha256").iterdir())


async def test_a_manifest_with_one_digest_of_two_sizes_is_corrupt(store: Store) -> None:
    digest = b"\1" * 32
    entries = (entry("a", b"x" * 10, digest=digest), entry("b", b"y" * 11, digest=digest))
    with pytest.raises(Corrupt, match="have one digest, but 10 and 11 bytes"):
        await firmware({"a": b"x" * 10, "b": b"y" * 11}, entries=entries).begin(store)
    assert not store.images()


async def test_finishing_too_early_says_how_much_is_missing(store: Store) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [0])
    with pytest.raises(Corrupt, match=r"gateway-os:2.4.1 .*: 10 of 11 pieces are missing"):
        await partial.finish()


async def test_a_piece_that_rotted_during_the_fetch_is_fetched_again(store: Store, state: Path) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial)
    await partial.flush()
    _spoil(state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex(), 2 * PIECE)
    assert not await partial.recheck(2)
    assert list(partial.holds.missing()) == [2]
    await fw.put(partial, [2])
    await partial.finish()


async def test_a_rotten_piece_found_at_the_end_leaves_the_journal_too(open_store: OpenStore, state: Path) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial)
    await partial.flush()
    partial = await fw.begin(open_store())  # nothing of the file is hashed by now
    _spoil(state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex(), 2 * PIECE)
    with pytest.raises(Corrupt, match=r"1 pieces of 'fw\.bin' rotted on this disk"):
        await partial.finish()
    again = await fw.begin(open_store())
    assert list(again.holds.missing()) == [2]


async def test_a_short_write_is_continued(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, blocks, at: real(fd, [blocks[0][:100]], at))
    await firmware({"fw.bin": noise(3 * PIECE)}).fetch(store)


async def test_a_full_disk_is_named_and_the_piece_does_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", _failing(errno.ENOSPC))
        with pytest.raises(NoSpace, match="piece 1 can't be written: no space left on device"):
            await partial.put(1, fw.blocks(1))
    assert not partial.holds and store.degraded and "no space left on device" in store.degraded
    assert await partial.put(1, fw.blocks(1)) is Outcome.STORED


async def test_a_failed_sync_is_never_tried_again_and_the_file_is_written_anew(
    open_store: OpenStore, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [0, 1])
    old = (state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex()).stat().st_ino
    synced: list[int] = []
    real = os.fdatasync

    def failing(fd: int) -> None:
        if os.fstat(fd).st_ino == old:
            synced.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", failing)
    await partial.flush()
    await fw.put(partial, range(2, 11))
    await partial.flush()
    assert len(synced) == 1 and "can't be synced" in (store.degraded or "")
    monkeypatch.setattr(os, "fsync", lambda fd, real=os.fsync: failing(fd) if os.fstat(fd).st_ino == old else real(fd))
    await partial.finish()
    assert len(synced) == 1
    blob = state / "blobs/sha256" / fw.manifest.files[0].digest.hex()
    assert blob.read_bytes() == fw.files["fw.bin"] and blob.stat().st_ino != old
    assert open_store().images()[0].complete


async def test_what_a_failed_sync_lost_is_missing_again(
    store: Store, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [0, 1])
    _spoil(state / "partial" / fw.image.hex() / fw.manifest.files[0].digest.hex(), PIECE)
    monkeypatch.setattr(os, "fdatasync", _failing(errno.EIO))
    await partial.flush()
    assert set(partial.holds) == {0}


async def test_a_journal_that_could_not_be_written_is_written_anew(
    open_store: OpenStore, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [0, 1])
    journal = (state / "partial" / fw.image.hex() / "journal").stat().st_ino
    real = os.fdatasync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda fd: _fail(errno.EIO) if os.fstat(fd).st_ino == journal else real(fd))
        await partial.flush()
    assert store.degraded
    await fw.put(partial, [4])
    await partial.flush()
    assert set((await fw.begin(open_store())).holds) == {0, 1, 4}


async def test_the_window_ends_by_itself_and_an_idle_store_sleeps(
    store: Store, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfedge.store.partial.WINDOW_S", 0.05)
    fw = firmware()
    journal = state / "partial" / fw.image.hex() / "journal"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.run)
        partial = await fw.begin(store)
        for pieces in ([1, 2], [3]):
            before = journal.stat().st_size
            await fw.put(partial, pieces)
            with anyio.fail_after(10):
                while journal.stat().st_size < before + len(pieces) * RECORD:  # noqa: ASYNC110  # it is a file
                    await anyio.sleep(0.01)
        assert partial.due(anyio.current_time()) == float("inf")
        tasks.cancel_scope.cancel()


async def test_more_than_a_window_is_never_left_unsynced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfedge.store.partial.WINDOW", 4 * PIECE)
    fw = firmware({"fw.bin": noise(30 * PIECE)})
    partial = await fw.begin(store)
    for piece in range(30):
        await partial.put(piece, fw.blocks(piece))
        assert partial._pending_bytes < 8 * PIECE


async def test_a_served_image_does_not_take_pieces(open_store: OpenStore) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial, [0])
    await partial.flush()
    held = open_store().open_image(fw.image)
    assert set(held.holds) == {0} and held.read(0, 5, 100) == fw.piece(0)[5:105]
    assert await held.put(0, fw.blocks(0)) is Outcome.DUPLICATE
    with pytest.raises(Refused, match="nobody fetches this image"):
        await held.put(1, fw.blocks(1))
    with pytest.raises(Corrupt, match="piece 1 is not held"):
        held.read(1, 0, 10)
    with pytest.raises(Corrupt, match="has 4,096 bytes, not 4,097"):
        held.read(0, 1, PIECE)


async def test_those_who_served_a_partial_image_serve_the_whole_one(store: Store) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    seen = store.open_image(fw.image)
    assert seen is partial and await fw.begin(store) is partial
    await fw.put(partial)
    await partial.finish()
    assert store.open_image(fw.image) is partial
    assert partial.read(1, 0, PIECE) == fw.piece(1) and await partial.prove(1)


def _spoil(file: Path, offset: int) -> None:
    mode = file.stat().st_mode
    file.chmod(0o600)
    with file.open("r+b") as out:
        out.seek(offset)
        out.write(b"rotten")
    file.chmod(mode)


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _failing(number: int) -> object:
    return lambda *_args: _fail(number)
