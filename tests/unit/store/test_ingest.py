"""What an operator publishes is what the store holds, or nothing is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfedge.core.errors import Corrupt, NoSpace, Refused
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.store import ingest as ingest_module
from dfedge.store import reading as reading_module
from dfedge.store.ingest import Stage
from dfedge.store.reading import Reading
from dfedge.store.store import Store

from .conftest import OpenStore
from .firmware import PIECE, Firmware, entry, firmware, noise

pytestmark = pytest.mark.anyio


@contextmanager
def reading(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


async def add(stage: Stage, source: Path, data: bytes, path: str = "fw.bin", piece: int = PIECE) -> FileEntry:
    await anyio.Path(source).write_bytes(data)
    with reading(source) as fd:
        return await stage.add(path, fd, 0o104755, piece)


def described(*entries: FileEntry, version: str = "2.4.1") -> Firmware:
    manifest = Manifest("fleet", "gateway-os", version, (), 0, entries)
    return Firmware(manifest, manifest.encode(), {})


async def commit(stage: Stage, fw: Firmware) -> None:
    await stage.commit(fw.manifest, fw.raw, b"signature", "alice")


async def test_a_published_image_is_complete_and_reads_back(open_store: OpenStore, tmp_path: Path, state: Path) -> None:
    store = open_store()
    data = noise(5_000_001)
    stage = await store.stage(len(data))
    made = await add(stage, tmp_path / "source", data, piece=65536)
    assert made == FileEntry(
        "fw.bin", len(data), sha256(data).digest(), "application/octet-stream", 0o755,
        entry("fw.bin", data, 65536).runs, entry("fw.bin", data, 65536).digests,
    )  # fmt: skip
    fw = described(made)
    await commit(stage, fw)
    assert store.open_image(fw.image).holds.complete
    for one in (store, open_store()):
        assert [(image.complete, image.signer) for image in one.images()] == [(True, "alice")]
        assert (await one.verify(None)).bad == ()
    assert not list((state / "partial").iterdir())
    assert (state / "blobs/sha256" / made.digest.hex()).stat().st_mode & 0o777 == 0o444


async def test_what_was_hashed_as_it_was_published_is_not_read_again_to_be_given_away(
    open_store: OpenStore, tmp_path: Path, state: Path
) -> None:
    """The first to fetch would wait for it. After a start, or a doubt, it is."""
    store = open_store()
    data = noise(3 * PIECE)
    stage = await store.stage(len(data))
    fw = described(await add(stage, tmp_path / "source", data))
    await commit(stage, fw)
    [blob] = (state / "blobs" / "sha256").iterdir()
    blob.chmod(0o600)
    blob.write_bytes(bytes(len(data)))
    held = store.open_image(fw.image)
    assert await held.prove(1)
    held.doubt()
    assert not await held.prove(1)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1 << 20, (1 << 20) + 1])
async def test_a_file_of_any_length_is_cut_right(store: Store, tmp_path: Path, size: int) -> None:
    data = noise(size)
    stage = await store.stage(size)
    made = await add(stage, tmp_path / "source", data)
    assert (made.digest, made.runs, made.digests) == (
        sha256(data).digest(), entry("f", data).runs, entry("f", data).digests,
    )  # fmt: skip
    await commit(stage, described(made))
    assert (await store.verify(None)).bad == ()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 40_000), st.integers(PIECE, 20_000))
def test_pieces_of_any_length_are_those_a_plain_reading_gives(tmp_path: Path, size: int, piece: int) -> None:
    data = noise(size)
    (tmp_path / "source").write_bytes(data)

    async def read() -> tuple[bytes, bytes]:
        with reading(tmp_path / "source") as fd, reading(tmp_path / "source") as _:
            out = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                return await anyio.to_thread.run_sync(Reading(fd, size, piece, out).run)
            finally:
                os.close(out)

    assert anyio.run(read) == (sha256(data).digest(), entry("f", data, piece).digests)
    assert (tmp_path / "copy").read_bytes() == data


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["hole", "zeros", "noise"]), st.integers(1, 9)), max_size=6),
    st.integers(PIECE, 3 * PIECE),
    st.booleans(),
)
def test_zeros_written_or_left_out_hash_and_copy_as_any_bytes(
    parts: list[tuple[str, int]], piece: int, tail: bool
) -> None:
    """Blocks of 4 KiB in which a file system may leave a hole; the buffers are as small, so that several are needed."""
    with TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_module, "CHUNK", 4096)
        source, copy = Path(made) / "source", Path(made) / "copy"
        with source.open("wb") as file:
            for kind, blocks in parts:
                if kind == "hole":
                    file.seek(blocks * 4096, os.SEEK_CUR)
                else:
                    file.write(bytes(blocks * 4096) if kind == "zeros" else noise(blocks * 4096))
            file.truncate(file.tell() + 17 * tail)
        data = source.read_bytes()

        async def read() -> tuple[bytes, bytes]:
            with reading(source) as fd, copy.open("w+b") as out:
                return await anyio.to_thread.run_sync(Reading(fd, len(data), piece, out.fileno()).run)

        assert anyio.run(read) == (sha256(data).digest(), entry("f", data, piece).digests)
        assert copy.read_bytes() == data
        assert copy.stat().st_blocks * 512 <= sum(blocks * 4096 for kind, blocks in parts if kind == "noise")


async def test_a_sparse_image_stays_sparse_in_the_store_and_at_its_place(
    store: Store, tmp_path: Path, state: Path
) -> None:
    size, real = 64 << 20, noise(1 << 20)
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(size)
        file.seek(20 << 20)
        file.write(real)
    stage = await store.stage(size)
    with reading(source) as fd:
        made = await stage.add("disk.img", fd, 0o644, 1 << 20)
    fw = described(made)
    await commit(stage, fw)
    with target.open("w+b") as out:
        await store.output(fw.image, 0, out.fileno())
    for path in (state / "blobs/sha256" / made.digest.hex(), target):
        assert path.stat().st_size == size and path.stat().st_blocks * 512 < 2 << 20
        assert sha256(path.read_bytes()).digest() == made.digest
    assert (await store.verify(None)).bad == ()


async def test_a_file_published_twice_is_stored_once(store: Store, tmp_path: Path, state: Path) -> None:
    data = noise(10_000)
    stage = await store.stage(30_000)
    entries = [await add(stage, tmp_path / "source", data, path) for path in ("a", "b")]
    await commit(stage, described(*entries))
    stage = await store.stage(10_000)
    await commit(stage, described(await add(stage, tmp_path / "source", data, "c"), version="2.4.2"))
    assert len(list((state / "blobs/sha256").iterdir())) == 1 and len(store.images()) == 2


@pytest.mark.parametrize("harm", ["grows", "shrinks", "is rewritten"])
async def test_a_file_that_changes_while_it_is_published_is_refused(
    store: Store, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(3 << 20))
    monkeypatch.setattr(ingest_module, "reflink", lambda _source, _target: False)
    real, reads = os.preadv, []

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        reads.append(offset)
        if len(reads) == 2:
            with source.open("r+b") as file:
                if harm == "shrinks":
                    file.truncate(100)
                else:
                    file.seek(0, os.SEEK_END if harm == "grows" else os.SEEK_SET)
                    file.write(b"new")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    stage = await store.stage(3 << 20)
    with reading(source) as fd, pytest.raises(Refused, match=r"^fw/os: changed while it was being published$"):
        await stage.add("fw/os", fd, 0o644, PIECE)
    await stage.discard()
    assert not store.images() and not list((state / "blobs/sha256").iterdir())
    assert not list((state / "partial").iterdir())


async def test_only_regular_files_are_published(store: Store, tmp_path: Path) -> None:
    stage = await store.stage(0)
    with reading(tmp_path) as fd, pytest.raises(Refused, match="d: is not a regular file"):
        await stage.add("d", fd, 0o755, PIECE)
    with reading(Path("/dev/zero")) as fd, pytest.raises(Refused, match="z: is not a regular file"):
        await stage.add("z", fd, 0o644, PIECE)


async def test_names_and_pieces_no_manifest_may_have_are_refused_before_reading(store: Store, tmp_path: Path) -> None:
    stage = await store.stage(0)
    with pytest.raises(ValueError, match="must be relative"):
        await add(stage, tmp_path / "source", b"x", "../x")
    with pytest.raises(ValueError, match="pieces of 0 bytes"):
        await add(stage, tmp_path / "source", b"x", piece=0)


async def test_more_than_was_announced_is_checked_against_the_quota(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(quota=20_000)
    stage = await store.stage(10_000)
    await add(stage, tmp_path / "source", noise(10_000))
    with pytest.raises(NoSpace, match="what is published needs"):
        await add(stage, tmp_path / "source", noise(20_000, seed=1), "b")


async def test_a_name_that_is_taken_is_refused_and_nothing_is_kept(store: Store, tmp_path: Path, state: Path) -> None:
    await firmware().fetch(store)
    stage = await store.stage(10_000)
    fw = described(await add(stage, tmp_path / "source", noise(10_000, seed=1)))
    with pytest.raises(Refused, match=r"gateway-os:2\.4\.1: is sha256:"):
        await commit(stage, fw)
    await stage.discard()
    assert len(store.images()) == 1 and len(list((state / "blobs/sha256").iterdir())) == 1


async def test_a_manifest_with_a_file_that_was_never_added_is_corrupt(store: Store) -> None:
    stage = await store.stage(0)
    with pytest.raises(Corrupt, match=r"gateway-os:2\.4\.1: 'fw\.bin' was never taken in"):
        await commit(stage, described(entry("fw.bin", noise(10))))
    assert not store.images()


async def test_publishing_what_is_being_fetched_completes_it(store: Store, tmp_path: Path) -> None:
    data = noise(3 * PIECE)
    fw = described(entry("fw.bin", data))
    partial = await store.begin(fw.manifest, fw.raw, b"signature", "alice")
    stage = await store.stage(len(data))
    made = await add(stage, tmp_path / "source", data)
    assert replace(made, mode=0o644) == fw.manifest.files[0]
    await commit(stage, fw)
    assert partial.holds.complete and store.images()[0].complete
    await partial.finish()
    assert store.images()[0].complete


async def test_a_cancelled_publishing_stops_reading(store: Store, tmp_path: Path, state: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 << 30)  # a hole; it would take minutes to hash
    stage = Stage(state / "partial", 64 << 30, store._shared, store._grow, store._commit, store._stages.discard)
    with reading(source) as fd, anyio.move_on_after(0.1) as scope:
        await stage.add("huge", fd, 0o644, 1 << 20)
    assert scope.cancelled_caught


async def test_nothing_of_what_is_published_is_written_before_the_disk_may_be_used(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[str, int]] = []
    real = os.pwritev

    def pwritev(fd: int, buffers: list[memoryview], offset: int) -> int:
        happened.append(("written", sum(map(len, buffers))))
        return real(fd, buffers, offset)

    async def before_write(nbytes: int) -> None:
        happened.append(("asked", nbytes))

    monkeypatch.setattr(ingest_module, "reflink", lambda *_: False)
    monkeypatch.setattr(os, "pwritev", pwritev)
    data = noise((2 << 20) + 5)
    (tmp_path / "source").write_bytes(data)
    stage = await store.stage(len(data))
    with reading(tmp_path / "source") as fd:
        made = await stage.add("fw.bin", fd, 0o644, PIECE, before_write)
    assert made.digest == sha256(data).digest()
    assert happened == [(what, nbytes) for nbytes in (1 << 20, 1 << 20, 5) for what in ("asked", "written")]


async def test_a_publishing_that_waits_for_the_disk_can_be_cancelled(
    store: Store, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def before_write(_nbytes: int) -> None:
        await anyio.sleep(60)

    monkeypatch.setattr(ingest_module, "reflink", lambda *_: False)
    (tmp_path / "source").write_bytes(noise(3 << 20))
    stage = await store.stage(3 << 20)
    with reading(tmp_path / "source") as fd, anyio.move_on_after(0.1) as scope:
        await stage.add("fw.bin", fd, 0o644, PIECE, before_write)
    assert scope.cancelled_caught
    await stage.discard()
    assert not list((state / "partial").iterdir())


async def test_who_publishes_a_large_file_hears_how_far_it_was_read_holes_and_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    async def report(nbytes: int) -> None:
        heard.append(nbytes)

    monkeypatch.setattr(reading_module, "REPORT_EVERY", 0.0)
    data = noise(2 << 20) + bytes(4 << 20) + noise(1 << 20)
    with (tmp_path / "source").open("wb") as file:
        file.write(data[: 2 << 20])
        file.seek(6 << 20)
        file.write(data[6 << 20 :])
    stage = await store.stage(len(data))
    with reading(tmp_path / "source") as fd:
        await stage.add("fw.bin", fd, 0o644, PIECE, report=report)
    assert heard == sorted(heard) and heard[0] == 1 << 20 and heard[-1] == len(data)
    await stage.discard()
