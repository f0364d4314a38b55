"""What a user finds in the store: images, pins, leases, room, and what a restart makes of it all.

Long, as it goes through one object's every promise.
"""

import errno
import os
import shutil
from pathlib import Path

import anyio
import pytest

from dfedge.core.errors import Corrupt, NoSpace, NotFound, Refused
from dfedge.core.seams import ImageId
from dfedge.store import output as output_module
from dfedge.store.store import Store

from .conftest import OpenStore
from .firmware import PIECE, Firmware, firmware, noise

pytestmark = pytest.mark.anyio


def numbered(number: int, pieces: int = 4) -> Firmware:
    return firmware({"fw.bin": noise(pieces * PIECE, seed=number)}, name=f"image{number}")


def blob(state: Path, fw: Firmware, file: int = 0) -> Path:
    return state / "blobs/sha256" / fw.manifest.files[file].digest.hex()


def written(state: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in state.rglob("*")}


def spoil(path: Path, offset: int) -> None:
    path.chmod(0o600)
    with path.open("r+b") as out:
        out.seek(offset)
        out.write(b"rotten")
    path.chmod(0o444)


async def test_images_survive_a_restart(open_store: OpenStore) -> None:
    store = open_store()
    fw = firmware()
    await fw.fetch(store)
    await store.pin(fw.image)
    before = store.images()
    store = open_store()
    assert store.images() == before and before[0].pinned and before[0].size == before[0].held
    assert store.manifest(fw.image) == fw.manifest
    assert store.open_image(fw.image).read(10, 3, 100) == fw.piece(10)[3:103]


async def test_a_partial_image_shows_how_much_of_it_is_here(open_store: OpenStore) -> None:
    store = open_store()
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [1, 2])
    await partial.flush()
    assert [(one.held, one.complete) for one in store.images()] == [(2 * PIECE, False)]
    assert [(one.held, one.complete) for one in open_store().images()] == [(2 * PIECE, False)]


async def test_an_unknown_image_is_not_found(store: Store) -> None:
    nobody = ImageId(b"\0" * 32)
    assert store.manifest_files(nobody) is None
    for ask in (store.manifest, store.open_image):
        with pytest.raises(NotFound, match="sha256:000000000000: is not in this store"):
            ask(nobody)
    for act in (store.remove, store.pin, store.unpin):
        with pytest.raises(NotFound):
            await act(nobody)


async def test_two_images_of_one_name_and_version_are_refused_with_both_signers(store: Store) -> None:
    first, second = firmware(), firmware({"fw.bin": noise(PIECE, seed=9)})
    await first.fetch(store)
    with pytest.raises(Refused) as refused:
        await store.begin(second.manifest, second.raw, b"s", "mallory")
    for part in ("gateway-os:2.4.1", first.image.hex(), second.image.hex(), "alice", "mallory"):
        assert part in str(refused.value)
    assert len(store.images()) == 1


# What is lost, and what comes back by itself


@pytest.mark.parametrize("harm", ["gone", "broken", "other schema"])
async def test_a_lost_index_is_rebuilt_from_the_files(open_store: OpenStore, state: Path, harm: str) -> None:
    store = open_store()
    whole, part = numbered(1), numbered(2)
    await whole.fetch(store)
    await store.pin(whole.image)
    partial = await part.begin(store)
    await part.put(partial, [0])
    await partial.flush()
    before = {one.image: (one.name, one.held, one.complete, one.pinned, one.signer) for one in store.images()}
    store.close()
    index = state / "index.sqlite3"
    if harm == "gone":
        index.unlink()
    elif harm == "broken":
        index.write_bytes(b"SQLite format 3\0" + noise(5000))
    else:
        import sqlite3

        with sqlite3.connect(index) as database:
            database.execute("PRAGMA user_version = 77")
        database.close()
    after = open_store()
    assert {one.image: (one.name, one.held, one.complete, one.pinned, one.signer) for one in after.images()} == before
    after.rebuild_index()
    assert {one.image: (one.name, one.held, one.complete, one.pinned, one.signer) for one in after.images()} == before


async def test_an_agent_killed_between_rename_and_index_loses_nothing(open_store: OpenStore, state: Path) -> None:
    fw = firmware()
    partial = await fw.begin(open_store())
    await fw.put(partial)
    await partial.flush()
    open_store()
    folder = state / "partial" / fw.image.hex()
    (folder / fw.manifest.files[0].digest.hex()).rename(blob(state, fw))
    store = open_store()
    assert store.images()[0].complete and not folder.exists()
    assert (await store.verify(None)).bad == ()


async def test_an_agent_killed_after_renaming_one_of_two_files_goes_on_with_the_other(
    open_store: OpenStore, state: Path
) -> None:
    fw = firmware({"a": noise(2 * PIECE), "b": noise(2 * PIECE, seed=1)})
    partial = await fw.begin(open_store())
    await fw.put(partial)
    await partial.flush()
    open_store()
    (state / "partial" / fw.image.hex() / fw.manifest.files[1].digest.hex()).rename(blob(state, fw, 1))
    partial = await fw.begin(open_store())
    assert partial.holds.complete
    await partial.finish()


async def test_a_manifest_that_rotted_is_dropped_and_not_shown(open_store: OpenStore, state: Path) -> None:
    store = open_store()
    fw = firmware()
    await fw.fetch(store)
    store.close()
    path = state / "manifests" / f"{fw.image.hex()}.manifest"
    path.write_bytes(b"?" + path.read_bytes()[1:])
    store = open_store()
    assert store.manifest_files(fw.image) is None
    with pytest.raises(NotFound):
        store.manifest(fw.image)
    assert not store.images()
    assert [gone.room.nbytes for gone in (await store.collect(dry_run=False)).gone] == [fw.manifest.size]


async def test_drafts_and_stages_of_a_killed_agent_are_cleared_away(open_store: OpenStore, state: Path) -> None:
    open_store()
    (state / "partial/stage-0123").mkdir()
    (state / "partial/stage-0123/1").write_bytes(b"half")
    (state / "manifests/x.manifest.tmp").write_bytes(b"half")
    open_store()
    assert not list((state / "partial").iterdir()) and not list((state / "manifests").iterdir())


# Rot, and its mending


async def test_a_rotten_piece_is_found_leaves_the_map_and_only_it_is_fetched_again(
    open_store: OpenStore, state: Path
) -> None:
    store = open_store()
    fw = firmware({"a": noise(8 * PIECE), "b": noise(PIECE, seed=1)})
    await fw.fetch(store)
    serving = store.open_image(fw.image)
    spoil(blob(state, fw), 3 * PIECE)
    seen: list[tuple[int, int]] = []
    report = await store.verify(fw.image, lambda done, total: seen.append((done, total)))
    assert (report.checked, report.bad, seen[-1]) == (9, ((fw.image, 3),), (9, 9))
    assert list(serving.holds.missing()) == [3] and not store.images()[0].complete
    assert serving.read(4, 0, PIECE) == fw.piece(4)
    assert store.spoilt().keys() == {fw.image}
    partial = await fw.begin(store)
    assert list(partial.holds.missing()) == [3] and partial.reused == 8 * PIECE
    await fw.put(partial, [3])
    await partial.finish()
    assert (await store.verify(None)).bad == () and store.images()[0].complete
    assert serving.read(3, 0, PIECE) == fw.piece(3)


async def test_what_was_rotten_is_still_missing_after_a_restart(open_store: OpenStore, state: Path) -> None:
    store = open_store()
    fw = firmware()
    await fw.fetch(store)
    spoil(blob(state, fw), 3 * PIECE)
    assert (await store.verify(fw.image)).bad == ((fw.image, 3),)
    store = open_store()
    assert not store.images()[0].complete
    assert list((await fw.begin(store)).holds.missing()) == [3]


async def test_a_truncated_blob_is_mended(open_store: OpenStore, state: Path) -> None:
    store = open_store()
    fw = firmware()
    await fw.fetch(store)
    blob(state, fw).chmod(0o600)
    os.truncate(blob(state, fw), 5 * PIECE + 9)
    assert [piece for _, piece in (await store.verify(fw.image)).bad] == [5, 6, 7, 8, 9, 10]
    partial = await fw.begin(store)
    await fw.put(partial)
    await partial.finish()
    assert blob(state, fw).read_bytes() == fw.files["fw.bin"]


@pytest.mark.parametrize("harm", ["truncated", "gone"])
async def test_a_blob_damaged_while_nobody_ran_is_fetched_again(open_store: OpenStore, state: Path, harm: str) -> None:
    fw = firmware()
    await fw.fetch(open_store())
    blob(state, fw).chmod(0o600)
    if harm == "gone":
        blob(state, fw).unlink()
    else:
        os.truncate(blob(state, fw), PIECE)
    store = open_store()
    assert not store.open_image(fw.image).holds
    assert not store.images()[0].complete
    await fw.fetch(store)
    assert blob(state, fw).read_bytes() == fw.files["fw.bin"]


async def test_a_rotten_file_is_missing_in_every_image_that_has_it_until_it_is_mended(
    store: Store, state: Path
) -> None:
    common = noise(4 * PIECE)
    first = firmware({"common": common})
    second = firmware({"common": common, "own": noise(PIECE, seed=1)}, version="2.4.2")
    await first.fetch(store)
    await second.fetch(store)
    spoil(blob(state, first), 0)
    other = store.open_image(second.image)
    assert not await store.open_image(first.image).recheck(0)
    assert list(other.holds.missing()) == [0] and not any(image.complete for image in store.images())
    assert store.spoilt().keys() == {first.image, second.image}
    partial = await second.begin(store)
    assert list(partial.holds.missing()) == [0]
    await second.put(partial, [0])
    await partial.finish()
    assert all(image.complete for image in store.images()) and not store.spoilt()
    assert (await store.verify(None)).bad == () and not list((state / "partial").iterdir())


async def test_a_manifest_that_contradicts_a_sound_file_does_not_harm_it(store: Store, state: Path) -> None:
    from .firmware import entry

    data = noise(2 * PIECE)
    await firmware({"fw.bin": data}).fetch(store)
    lying = entry("fw.bin", noise(2 * PIECE, seed=5), digest=firmware({"fw.bin": data}).manifest.files[0].digest)
    liar = firmware({"fw.bin": data}, version="6.6.6", entries=(lying,))
    partial = await liar.begin(store)
    assert not await partial.prove(0)
    assert blob(state, liar).read_bytes() == data
    with pytest.raises(Corrupt, match=r"'fw\.bin' is whole here, but piece 0 of its manifest is not in it"):
        await partial.put(0, liar.blocks(0))


async def test_a_piece_is_hashed_once_before_its_first_upload(store: Store, state: Path) -> None:
    fw = firmware()
    await fw.fetch(store)
    held = store.open_image(fw.image)
    assert await held.prove(0)
    spoil(blob(state, fw), 0)
    assert await held.prove(0)
    assert not await held.recheck(0) and not await held.prove(0)


# Room


async def test_an_image_over_the_quota_is_refused_with_the_numbers_before_the_first_byte(
    open_store: OpenStore, state: Path
) -> None:
    store = open_store(quota=6 * PIECE)
    await numbered(1).fetch(store)
    await store.pin(numbered(1).image)
    before = written(state).keys()
    with pytest.raises(NoSpace) as no_space:
        await numbered(2).begin(store)
    text = str(no_space.value)
    for part in (f"store {state}: image2:2.4.1 needs 16.0 KiB", "16.0 KiB of its quota 24.0 KiB", "nothing can be"):
        assert part in text
    assert no_space.value.hint == "dfedge unpin image1:2.4.1"
    assert written(state).keys() == before
    with pytest.raises(NoSpace, match="what is published needs"):
        await store.stage(4 * PIECE)


async def test_keep_free_is_kept_free(open_store: OpenStore) -> None:
    store = open_store(keep_free=1 << 60)
    with pytest.raises(NoSpace, match=r"is free \(keep_free .*\), nothing can be evicted"):
        await numbered(1).begin(store)


async def test_the_least_recently_used_image_makes_room(open_store: OpenStore, state: Path) -> None:
    store = open_store(quota=9 * PIECE)
    await numbered(1).fetch(store)
    await numbered(2).fetch(store)
    store.open_image(numbered(1).image)
    await numbered(3).fetch(store)
    assert [image.name for image in store.images()] == ["image1", "image3"]
    assert not blob(state, numbered(2)).exists() and store.usage().bytes == 8 * PIECE


async def test_pinned_and_leased_images_stay_and_the_refusal_names_what_could_go(open_store: OpenStore) -> None:
    store = open_store(quota=13 * PIECE)
    for number in (1, 2, 3):
        await numbered(number).fetch(store)
    await store.pin(numbered(1).image)
    with store.lease(numbered(2).image):
        with pytest.raises(NoSpace, match=r"evicting image3:2\.4\.1 would free 16\.0 KiB"):
            await numbered(4, pieces=9).begin(store)
        assert len(store.images()) == 3
        with pytest.raises(Refused, match=r"image2:2\.4\.1: is in use"):
            await store.remove(numbered(2).image)
    with pytest.raises(Refused, match=r"image1:2\.4\.1: is pinned"):
        await store.remove(numbered(1).image)
    await store.unpin(numbered(1).image)
    assert await store.remove(numbered(1).image) == 4 * PIECE


async def test_a_file_the_new_image_shares_is_not_evicted_for_it(open_store: OpenStore) -> None:
    store = open_store(quota=8 * PIECE)
    common = noise(4 * PIECE)
    await firmware({"common": common}).fetch(store)
    await numbered(2).fetch(store)
    store.open_image(numbered(2).image)
    fw = firmware({"common": common, "new": noise(2 * PIECE, seed=8)}, version="2.4.2")
    partial = await fw.begin(store)
    assert partial.reused == 4 * PIECE
    await fw.put(partial)
    await partial.finish()
    assert (await store.verify(None)).bad == ()


async def test_what_other_fetches_have_yet_to_write_counts_as_taken(open_store: OpenStore) -> None:
    store = open_store(quota=9 * PIECE)
    first = numbered(1, pieces=6)
    with store.lease(first.image):
        await first.begin(store)
        with pytest.raises(NoSpace):
            await numbered(2).begin(store)
    stage = await store.stage(3 * PIECE)
    assert store.usage().reserved == 3 * PIECE
    await stage.discard()
    assert store.usage().reserved == 0


async def test_removing_an_image_ends_serving_it_and_keeps_what_others_share(store: Store, state: Path) -> None:
    common = noise(4 * PIECE)
    first = firmware({"common": common, "own": noise(PIECE, seed=4)})
    second = firmware({"common": common}, version="2.4.2")
    await first.fetch(store)
    await second.fetch(store)
    serving = store.open_image(first.image)
    assert await store.remove(first.image) == PIECE
    assert not serving.holds and [image.version for image in store.images()] == ["2.4.2"]
    assert (await store.verify(None)).bad == ()
    assert {path.name for path in (state / "manifests").iterdir()} == {
        second.image.hex() + suffix for suffix in (".manifest", ".manifest.sig", ".signer")
    }


async def test_an_image_removed_while_it_is_fetched_does_not_degrade_the_store(store: Store) -> None:
    fw = firmware()
    partial = await fw.begin(store)
    await fw.put(partial, [0, 1])
    await store.remove(fw.image)
    await partial.flush()
    assert store.degraded is None
    with pytest.raises(Corrupt, match="11 of 11 pieces are missing"):
        await partial.finish()
    await fw.fetch(store)


async def test_collect_removes_leftovers_and_keeps_images(store: Store, state: Path) -> None:
    fw = firmware()
    await fw.fetch(store)
    begun = numbered(5)
    await begun.begin(store)
    orphan = state / "blobs/sha256" / ("ab" * 32)
    orphan.write_bytes(b"x" * 100)
    stray = state / "partial" / ("cd" * 32)
    stray.mkdir()
    (stray / "f").write_bytes(b"y" * 50)
    for dry_run in (True, False):
        gone = (await store.collect(dry_run=dry_run)).gone
        assert sorted((one.room.nbytes, one.image) for one in gone) == [(50, None), (100, None)]
        assert orphan.exists() is stray.exists() is dry_run
    assert (await store.collect(dry_run=False)).gone == () and len(store.images()) == 2


async def test_collect_evicts_until_a_lowered_quota_holds(open_store: OpenStore) -> None:
    store = open_store()
    for number in (1, 2, 3):
        await numbered(number).fetch(store)
    store = open_store(quota=9 * PIECE)
    cleared = await store.collect(dry_run=True)
    (gone,) = cleared.gone
    assert cleared.because == "the store holds 48.0 KiB, its quota is 36.0 KiB" and not cleared.short
    assert (gone.label, gone.image) == ("image1:2.4.1", numbered(1).image) and "used last on" in gone.reason
    assert len(store.images()) == 3
    await store.collect(dry_run=False)
    assert [image.name for image in store.images()] == ["image2", "image3"]


async def test_uses_are_remembered_over_a_restart_but_an_idle_store_writes_nothing(
    open_store: OpenStore, state: Path
) -> None:
    store = open_store()
    fw = firmware()
    await fw.fetch(store)
    first = store.images()[0].last_used
    store.open_image(fw.image)
    assert open_store().images()[0].last_used > first
    store = open_store()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.run)
        await anyio.wait_all_tasks_blocked()
        before = written(state)
        await anyio.sleep(0.2)  # nothing may happen in it
        assert written(state) == before
        tasks.cancel_scope.cancel()


# Output


@pytest.mark.parametrize("way", ["best", "no reflink", "read and write"])
async def test_a_file_is_written_out_whole_over_whatever_was_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    fw = firmware({"a": noise(PIECE), "b": noise(300 * PIECE + 7, seed=1)})
    await fw.fetch(store)
    if way != "best":
        monkeypatch.setattr(output_module, "reflink", lambda _source, _target: False)
    if way == "read and write":
        monkeypatch.setattr(os, "copy_file_range", lambda *_args: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    target = tmp_path / "out"
    target.write_bytes(b"z" * 2_000_000)
    fd = os.open(target, os.O_RDWR)
    try:
        await store.output(fw.image, 1, fd)
    finally:
        os.close(fd)
    assert target.read_bytes() == fw.files["b"]
    assert target.stat().st_nlink == 1
    target.write_bytes(b"edited")
    assert (await store.verify(None)).bad == ()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
async def test_a_file_is_written_out_to_another_file_system(store: Store) -> None:
    fw = firmware()
    await fw.fetch(store)
    target = Path("/dev/shm") / f"dfedge-test-{os.getpid()}"
    try:
        fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            await store.output(fw.image, 0, fd)
        finally:
            os.close(fd)
        assert target.read_bytes() == fw.files["fw.bin"]
    finally:
        target.unlink(missing_ok=True)


async def test_a_rotten_or_missing_file_is_never_written_out(
    open_store: OpenStore, state: Path, tmp_path: Path
) -> None:
    fw = firmware()
    await fw.fetch(open_store())
    store = open_store()
    spoil(blob(state, fw), 2 * PIECE)
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(Corrupt, match="piece 2 has rotted on this disk"):
            await store.output(fw.image, 0, fd)
        with pytest.raises(Refused, match=r"'fw\.bin' is not whole here"):
            await store.output(fw.image, 0, fd)
        assert (tmp_path / "out").stat().st_size == 0
    finally:
        os.close(fd)


async def test_a_thousand_files_need_few_descriptors(open_store: OpenStore) -> None:
    store = open_store()
    fw = firmware({f"f{number}": noise(100, seed=number) for number in range(300)})
    before = len(os.listdir("/proc/self/fd"))
    await fw.fetch(store)
    await store.verify(None)
    assert len(os.listdir("/proc/self/fd")) - before <= 64
    store.close()
    assert len(os.listdir("/proc/self/fd")) < before
    open_store()


async def test_the_store_can_be_copied_as_files(open_store: OpenStore, tmp_path: Path, state: Path) -> None:
    fw = firmware()
    await fw.fetch(open_store())
    shutil.copytree(state, tmp_path / "copy", ignore=shutil.ignore_patterns("index*", "lock"))
    copy = open_store(state=tmp_path / "copy")
    assert copy.images()[0].complete and (await copy.verify(None)).bad == ()
