"""A disk that is not ours alone: what is given back when it fills up, and what is refused before it does."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from disk import OLD_EXT, fill, loop_disk, memory_disk

from dfedge.core.errors import NoSpace
from dfedge.core.image.outcome import Outcome
from dfedge.store.eviction import Watermarks
from dfedge.store.store import Store

from .conftest import OpenStore, Ticker
from .firmware import PIECE, Firmware, firmware, noise

pytestmark = pytest.mark.anyio

KIB = 1024


def numbered(number: int, nbytes: int = 256 * KIB, files: int = 1) -> Firmware:
    parts = {f"f{n}": noise(nbytes // files, seed=number * 1000 + n) for n in range(files)}
    return firmware(parts, name=f"image{number}")


def names(store: Store) -> list[str]:
    return [image.name for image in store.images()]


def open_on(disk: Path, keep_free: int = 512 * KIB, quota: int | None = None) -> "closing[Store]":
    return closing(Store.open(disk / "state", quota, keep_free, Ticker()))


async def test_when_another_program_fills_the_disk_we_give_back_least_recently_used_first(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "mnt", "size=4m") as disk, open_on(disk) as store:
        for number in (1, 2, 3, 4):
            await numbered(number).fetch(store)
        store.open_image(numbered(1).image)
        assert await store.relieve() == ()
        filler = fill(disk, leave=400 * KIB)
        gone = await store.relieve()
        assert [one.label for one in gone] == ["image2:2.4.1"]
        assert store.usage().free >= 512 * KIB and not store.shortage
        assert (store.evicted.images, store.evicted.label) == (1, "image2:2.4.1")
        assert "is free, 512.0 KiB is to stay free" in store.evicted.because
        filler.unlink()
        assert await store.relieve() == () and len(names(store)) == 3
        assert (await store.verify(None)).bad == ()


async def test_what_is_pinned_or_used_stays_and_the_node_says_what_lacks_until_it_no_longer_does(
    tmp_path: Path,
) -> None:
    with memory_disk(tmp_path / "mnt", "size=4m") as disk, open_on(disk) as store:
        for number in (1, 2, 3):
            await numbered(number).fetch(store)
        await store.pin(numbered(1).image)
        with store.lease(numbered(2).image, "running"):
            filler = fill(disk, leave=100 * KIB)
            assert [one.label for one in await store.relieve()] == ["image3:2.4.1"]
            assert names(store) == ["image1", "image2"]
            for part in ("is free, 512.0 KiB is to stay free", "image1:2.4.1 is pinned, image2:2.4.1 is running"):
                assert part in store.shortage
            with pytest.raises(NoSpace, match=r"must be freed on this disk \(or lower store.keep_free\)") as no_space:
                await numbered(4).begin(store)
            assert no_space.value.hint == f"df -h {disk / 'state'}"
            filler.unlink()
            await store.relieve()
            assert not store.shortage
            await numbered(4).fetch(store)


async def test_a_fetch_begun_in_time_ends_well_though_the_disk_is_full_by_then(tmp_path: Path) -> None:
    fw = numbered(1, nbytes=1024 * KIB)
    with loop_disk(tmp_path / "mnt", 16) as disk, open_on(disk) as store:
        with store.lease(fw.image):
            partial = await fw.begin(store)
            await fw.put(partial, range(100))
            await partial.flush()
            fill(disk)
            await store.relieve()
            assert store.shortage
            await fw.put(partial)
            await partial.finish()
        assert store.images()[0].complete and store.degraded is None
        assert (await store.verify(None)).bad == ()


@pytest.mark.parametrize("restarted", [False, True])
async def test_on_a_disk_that_cannot_preallocate_a_fetch_stops_before_it_takes_what_others_need(
    tmp_path: Path, restarted: bool
) -> None:
    fw = numbered(1, nbytes=1024 * KIB)
    with loop_disk(tmp_path / "mnt", 16, OLD_EXT) as disk:
        with open_on(disk) as store, store.lease(fw.image, "being fetched"):
            partial = await fw.begin(store)
            await fw.put(partial, range(100))
            assert store.usage().reserved >= 156 * PIECE
            filler = fill(disk, leave=300 * KIB)
            await store.relieve()
            with pytest.raises(NoSpace, match=r"image1:2\.4\.1 is being fetched"):
                await partial.put(100, fw.blocks(100))
            with pytest.raises(NoSpace, match=r"image1:2\.4\.1 needs 6\d\d\.\d KiB"):
                await fw.begin(store)
            assert len(partial.holds) == 100
            if not restarted:
                filler.unlink()
                partial = await fw.begin(store)
                assert len(partial.holds) == 100
                await fw.put(partial)
                await partial.finish()
        if restarted:
            with open_on(disk) as store:
                with pytest.raises(NoSpace):
                    await fw.begin(store)
                filler.unlink()
                partial = await fw.begin(store)
                assert partial.reused == 100 * PIECE
                assert await partial.put(100, fw.blocks(100)) is Outcome.STORED


async def test_a_fetch_that_takes_nothing_more_goes_on_where_the_disk_is_short(tmp_path: Path) -> None:
    fw = numbered(1, nbytes=1024 * KIB)
    with memory_disk(tmp_path / "mnt", "size=4m") as disk:
        with open_on(disk) as store:
            await fw.put(await fw.begin(store), range(100))
        fill(disk, leave=100 * KIB)
        with open_on(disk) as store:
            await fw.fetch(store)
            assert store.images()[0].complete


async def test_an_unfinished_image_that_nobody_fetches_is_given_back(tmp_path: Path) -> None:
    fw = numbered(1, nbytes=1024 * KIB)
    with memory_disk(tmp_path / "mnt", "size=4m") as disk, open_on(disk) as store:
        partial = await fw.begin(store)
        await fw.put(partial, range(100))
        fill(disk, leave=100 * KIB)
        assert [one.label for one in await store.relieve()] == ["image1:2.4.1"]
        assert not names(store) and not store.shortage


# Inodes


async def test_a_disk_without_inodes_refuses_before_the_first_byte_and_says_so(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "mnt", "size=8m,nr_inodes=60") as disk, open_on(disk, keep_free=0) as store:
        await store.pin((await fetched(store, numbered(1, files=10))).image)
        free = os.statvfs(disk).f_favail
        with pytest.raises(NoSpace, match=r"image2:2\.4\.1 needs 56 inodes, \d+ are free .*; \d+ inodes lack") as no:
            await numbered(2, files=50).begin(store)
        assert no.value.hint == f"df -i {disk / 'state'}"
        with pytest.raises(NoSpace, match="what is published needs 54 inodes"):
            await store.stage(50, files=50)
        assert os.statvfs(disk).f_favail == free


async def test_an_image_of_many_files_makes_way_for_another(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "mnt", "size=8m,nr_inodes=60") as disk, open_on(disk, keep_free=0) as store:
        await fetched(store, numbered(1, files=20))
        await fetched(store, numbered(2, files=1))
        await fetched(store, numbered(3, files=20))
        assert names(store) == ["image2", "image3"]


async def test_when_another_program_takes_the_inodes_we_give_back_too(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "mnt", "size=8m,nr_inodes=500") as disk, open_on(disk, keep_free=0) as store:
        await fetched(store, numbered(1, files=20))
        (disk / "others").mkdir()
        for number in range(os.statvfs(disk).f_favail - 2):
            (disk / "others" / str(number)).touch()
        assert [one.label for one in await store.relieve()] == ["image1:2.4.1"]
        assert store.evicted.because == "2 inodes are free, 5 are to stay free"


async def fetched(store: Store, fw: Firmware) -> Firmware:
    await fw.fetch(store)
    return fw


# Watermarks


async def test_over_the_upper_watermark_small_old_images_go_until_the_lower_one(
    open_store: OpenStore, tmp_path: Path
) -> None:
    with closing(Store.open(tmp_path / "own", 20 * PIECE, 0, Ticker(), Watermarks(90, 70))) as store:
        for number in range(18):
            await numbered(number, nbytes=PIECE).fetch(store)
        assert len(names(store)) == 18
        await numbered(18, nbytes=PIECE).fetch(store)
        assert sorted(names(store)) == sorted(f"image{number}" for number in range(5, 19))
        assert await store.relieve() == ()


# What would help


async def test_a_refusal_says_by_how_much_the_quota_is_too_small(open_store: OpenStore) -> None:
    store = open_store(quota=6 * PIECE)
    with pytest.raises(NoSpace, match=r"nothing can be evicted; store\.quota is 8\.0 KiB too small for it") as no_space:
        await numbered(1, nbytes=8 * PIECE).begin(store)
    assert no_space.value.hint == "dfedge config show"


async def test_a_refusal_names_the_pins_only_where_that_would_do(open_store: OpenStore) -> None:
    store = open_store(quota=9 * PIECE)
    await store.pin((await fetched(store, numbered(1, nbytes=4 * PIECE))).image)
    with pytest.raises(NoSpace, match=r"image1:2\.4\.1 is pinned") as no_space:
        await numbered(2, nbytes=8 * PIECE).begin(store)
    assert no_space.value.hint == "dfedge unpin image1:2.4.1"
    with pytest.raises(NoSpace, match=r"store\.quota is 20\.0 KiB too small") as no_space:
        await numbered(2, nbytes=10 * PIECE).begin(store)


async def test_collect_says_what_is_short_and_why_the_rest_stays(open_store: OpenStore) -> None:
    store = open_store()
    await store.pin((await fetched(store, numbered(1, nbytes=4 * PIECE))).image)
    await fetched(store, numbered(2, nbytes=4 * PIECE))
    store = open_store(quota=2 * PIECE)
    for dry_run in (True, False):
        cleared = await store.collect(dry_run=dry_run)
        assert [one.label for one in cleared.gone] == ["image2:2.4.1"]
        assert cleared.because == "the store holds 32.0 KiB, its quota is 8.0 KiB"
        assert cleared.short.endswith("nothing more can be evicted: image1:2.4.1 is pinned")
    assert names(store) == ["image1"]
