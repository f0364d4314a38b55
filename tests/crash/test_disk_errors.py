"""The k-th call to the disk fails, for every k: nothing wrong is kept, the user is told why, and it goes on after.

What a user loses if one fails: a wrong file shown as complete, a traceback in place of a reason, an agent that must be
restarted, or a card full of what nobody clears away.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest
from disk import mounted
from unit.store.firmware import PIECE, firmware, noise

from dfedge.core.errors import Busy, Corrupt, DfedgeError, NoSpace
from dfedge.core.image.manifest import Manifest
from dfedge.store.store import Store

from .faulty import Plan, failing

pytestmark = pytest.mark.anyio

ERRORS = {"ENOSPC": NoSpace, "EDQUOT": NoSpace, "EIO": Corrupt, "EROFS": Corrupt, "EMFILE": Busy}
WRITES = ("write", "fsync", "rename", "fallocate", "close", "open", "remove", "mkdir")
FW = firmware({"fw.bin": noise(5 * PIECE + 123), "boot": noise(2 * PIECE, seed=2)})
OLD = firmware({"old": noise(3 * PIECE, seed=7)}, name="old", version="1")
NEW = {"one": noise(3 * PIECE, seed=4), "two": noise(777, seed=5)}


def _plans() -> Iterator[tuple[str, str, bool]]:
    for kind in WRITES:
        for error in ERRORS:
            if (error == "EMFILE") == (kind == "open") or (kind, error) == ("open", "EIO"):
                yield from ((kind, error, False), (kind, error, True))
    yield from (("write", "SHORT", False), ("write", "SHORT", True))


async def _fetch(store: Store) -> None:
    partial = await FW.begin(store)
    for piece in range(FW.manifest.pieces):
        await partial.put(piece, FW.blocks(piece))
        if piece % 3 == 2:
            await partial.flush()
    await partial.finish()


async def _publish(store: Store, folder: Path) -> None:
    stage = await store.stage(sum(map(len, NEW.values())))
    try:
        entries = []
        for path, data in NEW.items():
            (folder / path).write_bytes(data)
            fd = os.open(folder / path, os.O_RDONLY)
            try:
                entries.append(await stage.add(path, fd, 0o644, PIECE))
            finally:
                os.close(fd)
        manifest = Manifest("fleet", "new", "1", (), 1_700_000_000, tuple(entries))
        await stage.commit(manifest, manifest.encode(), b"signature of it", "alice")
    finally:
        await stage.discard()


@pytest.mark.parametrize(("kind", "error", "for_good"), list(_plans()))
async def test_whichever_call_fails_nothing_wrong_is_kept_and_it_goes_on_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: str, for_good: bool
) -> None:
    monkeypatch.setattr("dfedge.store.health.PROBE_S", 0.0)
    number, fired, failures = 0, True, 0
    while fired:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        with failing(place / "state") as disk:
            store = Store.open(place / "state", None, 0, lambda: 1_700_000_000.0)
            try:
                await OLD.fetch(store)
                await _still_serves(store, place)
                disk.arm(Plan(kind, number, error, for_good))
                for flow in (partial(_fetch, store), partial(_publish, store, place)):
                    try:
                        await flow()
                    except DfedgeError as told:
                        failures += 1
                        _right_words(told, error)
                        assert store.degraded, "the disk failed, and status says nothing"
                await _still_serves(store, place)
                fired = disk.fired
                disk.arm(None)
                await _well_again(store)
                await _fetch(store)
                await _publish(store, place)
                await _all_right(store, place)
            finally:
                store.close()
        store = Store.open(place / "state", None, 0, lambda: 1_700_000_000.0)
        try:
            await _all_right(store, place)
        finally:
            store.close()
    assert number > 1, f"nothing was asked to {kind}"
    assert failures or error == "SHORT" or kind == "close", "no call that failed was noticed"


def _right_words(told: DfedgeError, error: str) -> None:
    if error in ERRORS:
        assert type(told) is ERRORS[error], f"{type(told).__name__}: {told}"
    assert ": " in str(told) and "Errno" not in str(told)


async def _still_serves(store: Store, place: Path) -> None:
    held = store.open_image(OLD.image)
    for piece in range(OLD.manifest.pieces):
        assert held.read(piece, 0, OLD.manifest.piece(piece).length) == OLD.piece(piece)
    _nothing_wrong(store, place)


async def _well_again(store: Store) -> None:
    if store.degraded:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.run)
                partial = await FW.begin(store)  # what an fsync lost is written anew when the image is made whole
                await FW.put(partial)
                await partial.finish()
                while store.degraded:  # noqa: ASYNC110 - it is asked by time
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()


async def _all_right(store: Store, place: Path) -> None:
    _nothing_wrong(store, place)
    assert {(image.name, image.complete) for image in store.images()} == {
        ("gateway-os", True),
        ("new", True),
        ("old", True),
    }
    assert (await store.verify(None)).bad == ()
    assert not list((place / "state/partial").iterdir())
    files = {entry.digest.hex() for image in store.images() for entry in store.manifest(image.image).files}
    assert {path.name for path in (place / "state/blobs/sha256").iterdir()} == files
    assert not [path.name for path in (place / "state/manifests").iterdir() if path.name.endswith(".tmp")]


def _nothing_wrong(store: Store, place: Path) -> None:
    content = {"gateway-os": FW.files, "old": OLD.files, "new": NEW}
    for image in store.images():
        if image.complete:
            for entry in store.manifest(image.image).files:
                blob = place / "state/blobs/sha256" / entry.digest.hex()
                assert blob.read_bytes() == content[image.name][entry.path]


@pytest.mark.parametrize("harm", ["closed", "garbage", "gone"])
async def test_an_index_that_breaks_while_the_agent_runs_is_made_anew(tmp_path: Path, harm: str) -> None:
    state = tmp_path / "state"
    store = Store.open(state, None, 0, lambda: 1_700_000_000.0)
    await OLD.fetch(store)
    await store.pin(OLD.image)
    if harm == "closed":
        store._catalogue.index._database.close()
    for suffix in ("", "-wal"):
        if harm == "garbage":
            (state / f"index.sqlite3{suffix}").write_bytes(b"garbage" * 5000)
        elif harm == "gone":
            (state / f"index.sqlite3{suffix}").unlink()
    await FW.fetch(store)
    assert (await store.collect(dry_run=False)).gone == ()
    for again in (False, True):
        if again:
            store.close()
            store = Store.open(state, None, 0, lambda: 1_700_000_000.0)
        assert [(image.name, image.complete, image.pinned) for image in store.images()] == [
            ("gateway-os", True, False),
            ("old", True, True),
        ]
        assert (await store.verify(None)).bad == ()
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_card_that_has_turned_read_only_is_still_served_from(tmp_path: Path) -> None:
    with mounted(tmp_path / "mnt", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as mnt:
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            await OLD.fetch(store)
            await FW.put(await FW.begin(store), [1])
        _remount(mnt, "ro")
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            with pytest.raises(Corrupt, match="read-only file system"):
                await FW.begin(store)
            assert "read-only" in (store.degraded or "")
            held = store.open_image(OLD.image)
            assert await held.prove(1) and held.read(1, 0, PIECE) == OLD.piece(1)
        _remount(mnt, "rw")
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            await FW.fetch(store)
            assert [image.complete for image in store.images()] == [True, True]


def _remount(mnt: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(mnt)], check=True)
