"""Rot: what has rotted leaves the map of every image that has it, nothing else does, and the scrub finds it in time."""

import ctypes
import errno
import os
import platform
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from dfedge.core.errors import DfedgeError
from dfedge.core.seams import ImageId
from dfedge.store import rot
from dfedge.store.idle import be_idle
from dfedge.store.scrub import DAY, SETTLE, ScrubState, Slice, first_wait, interval
from dfedge.store.store import Store
from dfedge.store.worker import Workers

from .conftest import OpenStore
from .firmware import PIECE, Firmware, entry, firmware, noise

pytestmark = pytest.mark.anyio


def _blob(state: Path, fw: Firmware, file: int = 0) -> Path:
    return state / "blobs" / "sha256" / fw.manifest.files[file].digest.hex()


def _flip(path: Path, *offsets: int) -> None:
    """Change bytes of a file behind everybody's back, as a rotting medium does."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
        os.fsync(file.fileno())
    path.chmod(mode)


async def _at_once() -> None:
    """No pause between two pieces."""


class _Watcher:
    def __init__(self) -> None:
        self.gone: list[tuple[ImageId, tuple[int, ...]]] = []
        self.files: list[tuple[ImageId, str, int]] = []
        self.whole: list[ImageId] = []

    def lost(self, image: ImageId, pieces: Collection[int]) -> None:
        self.gone.append((image, tuple(sorted(pieces))))

    def rotted(self, image: ImageId, path: str, pieces: int) -> None:
        self.files.append((image, path, pieces))

    def mended(self, image: ImageId) -> None:
        self.whole.append(image)


async def _two_that_share(store: Store, piece: int = PIECE) -> tuple[Firmware, Firmware]:
    """Two images with one file in common, which the second has cut in its own way."""
    common = noise(8 * PIECE)
    first = firmware({"common": common})
    files = {"own": noise(PIECE, seed=1), "common": common}
    entries = entry("own", files["own"]), entry("common", common, piece)
    second = firmware(files, version="2.4.2", entries=entries)
    await first.fetch(store)
    await second.fetch(store)
    return first, second


async def test_of_a_rotten_file_that_two_images_share_both_lack_just_what_is_rotten(store: Store, state: Path) -> None:
    first, second = await _two_that_share(store, piece=2 * PIECE)
    watcher = _Watcher()
    store.watch(watcher)
    _flip(_blob(state, first), 3 * PIECE)
    assert (await store.verify(first.image)).bad == ((first.image, 3),)
    assert list(store.open_image(first.image).holds.missing()) == [3]
    assert list(store.open_image(second.image).holds.missing()) == [2]  # 1 is own; 0, 1 | 2, 3 | … of common
    assert watcher.gone == [(first.image, (3,)), (second.image, (2,))]
    assert watcher.files == [(first.image, "common", 1), (second.image, "common", 1)]


@pytest.mark.parametrize("mended", [0, 1])
async def test_whichever_of_two_images_is_mended_mends_the_other(
    open_store: OpenStore, state: Path, mended: int
) -> None:
    store = open_store()
    both = await _two_that_share(store)
    _flip(_blob(state, both[0]), 0, 5 * PIECE)
    await store.verify(None)
    store = open_store()  # a restart forgets nothing of it
    assert store.spoilt().keys() == {both[0].image, both[1].image}
    assert [image.size - image.held for image in store.images()] == [2 * PIECE, 2 * PIECE]
    watcher = _Watcher()
    store.watch(watcher)
    partial = await both[mended].begin(store)
    assert len(list(partial.holds.missing())) == 2
    await both[mended].put(partial, list(partial.holds.missing()))
    await partial.finish()
    assert watcher.whole == [both[1 - mended].image]
    assert all(image.complete for image in store.images()) and not list((state / "partial").iterdir())
    assert (await store.verify(None)).bad == ()


async def test_more_rot_in_a_file_that_is_being_mended_is_lacking_in_both_images_too(store: Store, state: Path) -> None:
    first, second = await _two_that_share(store)
    _flip(_blob(state, first), 0)
    await store.verify(first.image)
    _flip(state / "partial" / first.image.hex() / first.manifest.files[0].digest.hex(), 6 * PIECE)
    assert (await store.verify(second.image)).bad == ((second.image, 7),)
    assert list(store.open_image(first.image).holds.missing()) == [0, 6]
    assert list(store.open_image(second.image).holds.missing()) == [1, 7]


async def test_without_hard_links_the_other_image_lacks_the_file_until_it_is_mended(
    store: Store, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    first, second = await _two_that_share(store)
    _flip(_blob(state, first), 0)
    await store.verify(first.image)
    assert list(store.open_image(second.image).holds) == [0]
    await first.fetch(store)
    assert all(image.complete for image in store.images())
    assert rot.os.link is refuse  # type: ignore[attr-defined]


async def test_after_one_rotten_piece_every_other_of_its_file_is_hashed_again_before_it_goes_out(
    store: Store, state: Path
) -> None:
    fw = firmware()
    await fw.fetch(store)
    held = store.open_image(fw.image)
    assert await held.prove(0) and await held.prove(5)
    _flip(_blob(state, fw), 0, 5 * PIECE)
    assert not await held.recheck(0)
    assert not await held.prove(5)


async def test_while_rot_is_being_taken_out_nothing_else_goes_out_unproven(store: Store, state: Path) -> None:
    """The disk may be slow, and the neighbours go on asking."""
    fw, other = firmware(), firmware({"b": noise(3 * PIECE, 9)}, name="other")
    await fw.fetch(store)
    await other.fetch(store)
    held, beside = store.open_image(fw.image), store.open_image(other.image)
    assert await held.prove(5) and await beside.prove(1)
    _flip(_blob(state, fw), 0, 5 * PIECE)
    _flip(_blob(state, other), PIECE)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks, store._shared.spoiling:
            tasks.start_soon(held.recheck, 0)
            while 0 in held.holds:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            tasks.start_soon(held.prove, 5)
            tasks.start_soon(beside.prove, 1)
            while 5 in held.holds or 1 in beside.holds:  # noqa: ASYNC110
                await anyio.sleep(0.001)


async def test_a_file_that_is_rotten_all_over_is_taken_out_in_few_steps(
    store: Store, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fw = firmware({"a": noise(300 * PIECE)})
    await fw.fetch(store)
    steps = []
    spoil = rot.spoil

    async def counted(content: object, pieces: Collection[int]) -> None:
        steps.append(len(pieces))
        await spoil(content, pieces)  # type: ignore[arg-type]

    monkeypatch.setattr("dfedge.store.held.spoil", counted)
    _flip(_blob(state, fw), *range(0, 300 * PIECE, PIECE))
    assert len((await store.verify(None)).bad) == 300
    assert steps == [256, 44]
    assert not store.open_image(fw.image).holds


# The scrub


async def test_the_scrub_reads_everything_once_in_a_round_and_finds_what_is_rotten(store: Store, state: Path) -> None:
    first, second = await _two_that_share(store)
    lone = firmware({"x": noise(7 * PIECE, seed=3)}, name="lone")
    await lone.fetch(store)
    _flip(_blob(state, lone), 6 * PIECE)
    slices: list[Slice] = []
    while not slices or not slices[-1].round_done:
        slices.append(await store.scrubber.slice(1 / 4, _at_once))
    assert sum(one.nbytes for one in slices) == (8 + 1 + 7) * PIECE  # what is shared is read once
    assert max(one.pieces for one in slices) == 4 and sum(one.bad for one in slices) == 1
    assert store.spoilt().keys() == {lone.image}
    assert {first.image, second.image} == {image.image for image in store.images() if image.complete}


async def test_the_scrub_goes_on_after_a_restart_where_it_was_and_writes_once_a_slice(
    open_store: OpenStore, state: Path
) -> None:
    store = open_store()
    fw = firmware({"a": noise(8 * PIECE)})
    await fw.fetch(store)
    await store.scrubber.slice(3 / 8, _at_once)
    written = (state / "scrub").stat().st_mtime_ns
    assert store.scrubber.state.piece == 3 and store.scrubber.state.at > 0
    before = store.scrubber.state
    store = open_store()
    assert store.scrubber.state == before and (state / "scrub").stat().st_mtime_ns == written
    _flip(_blob(state, fw), 2 * PIECE, 4 * PIECE)
    assert (await store.scrubber.slice(3 / 8, _at_once)).bad == 1  # 3, 4, 5


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"image": 1, "piece": -1, "at": "x"}', "\x00" * 50, "[" * 4000], ids=range(6)
)
async def test_a_broken_state_of_the_scrub_begins_a_new_round(open_store: OpenStore, state: Path, text: str) -> None:
    open_store().close()
    (state / "scrub").write_text(text)
    assert open_store().scrubber.state == ScrubState()


async def test_an_image_removed_under_the_scrub_is_not_called_rotten(store: Store) -> None:
    fw = firmware()
    await fw.fetch(store)
    watcher = _Watcher()
    store.watch(watcher)

    async def remove() -> None:
        if store.images():
            await store.remove(fw.image)

    assert (await store.scrubber.slice(1.0, remove)).bad == 0
    assert not watcher.files


async def test_scrubbing_is_no_use_of_an_image(store: Store) -> None:
    fw = firmware()
    await fw.fetch(store)
    before = store.images()[0].last_used
    await store.scrubber.slice(1.0, _at_once)
    assert store.images()[0].last_used == before


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of ioprio_get is that of x86-64")
async def test_the_scrub_reads_after_everybody_else_and_nobody_else_does() -> None:
    def priority() -> int:
        return int(ctypes.CDLL(None).syscall(252, 1, 0)) >> 13

    idle, usual = Workers(threads=1, prepare=be_idle), Workers(threads=1)
    assert (await idle.work(priority), await usual.work(priority)) == (3, priority())
    idle.close()
    usual.close()


async def test_slices_come_once_a_day_whatever_the_clock_does() -> None:
    month = 30 * DAY
    assert interval(month) == DAY and interval(3600.0) == 3600.0
    now = 1_800_000_000.0
    assert first_wait(0.0, now, DAY) == DAY  # a new store has not rotted yet
    assert first_wait(now - 3600, now, DAY) == DAY - 3600
    assert first_wait(now - 5 * DAY, now, DAY) == SETTLE
    assert first_wait(now - 400 * DAY, now, DAY) == SETTLE  # one slice, however long it was
    assert first_wait(now + 400 * DAY, now, DAY) == DAY / 4  # the clock went back, or never ran
    assert first_wait(now, now, DAY) == DAY / 4


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["chmod", "rename", "fsync"])
async def test_a_disk_that_refuses_to_take_a_rotten_file_back_serves_nothing_of_the_rot_and_is_asked_again(
    open_store: OpenStore, state: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    store = open_store()
    fw = firmware({"fw": noise(8 * PIECE)})
    await fw.fetch(store)
    _flip(_blob(state, fw), 3 * PIECE)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as broken:
        if call == "fsync":
            broken.setattr(rot, "sync_folder", refuse)
        else:
            broken.setattr(Path, call, refuse)
        with suppress(DfedgeError):
            await store.verify(fw.image)
        assert 3 not in store.open_image(fw.image).holds
        assert store.degraded
    store = open_store()  # a restart knows no more than the disk, and finds it anew
    await store.verify(None)
    missing = list(store.open_image(fw.image).holds.missing())
    assert missing == ([3] if call != "fsync" else list(range(8)))  # what no disk has confirmed is not counted on
    await fw.fetch(store)
    assert all(image.complete for image in store.images())
    assert (await store.verify(None)).bad == ()


async def test_of_a_rotten_file_that_somebody_removed_meanwhile_nothing_is_held(store: Store, state: Path) -> None:
    first, second = await _two_that_share(store)
    _blob(state, first).unlink()
    await store.verify(None)
    assert list(store.open_image(first.image).holds) == []
    assert list(store.open_image(second.image).holds) == [0]
    await first.fetch(store)
    await second.fetch(store)
    assert all(image.complete for image in store.images())
