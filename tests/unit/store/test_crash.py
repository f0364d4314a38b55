"""What is left after kill -9, a power cut and a full disk: real processes, real file systems."""

import errno
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from disk import mounted

from dfedge.core.errors import NoSpace
from dfedge.store.store import Store

from .conftest import OpenStore
from .firmware import PIECE, firmware, noise

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[3]
PIECES = 64
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, as in <linux/fs.h>'s FS_IOC_SHUTDOWN
NO_LOG_FLUSH = 2


@contextmanager
def agent(state: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.store.killed_agent", str(state), str(PIECES), *args],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def durable_until(process: subprocess.Popen[str], windows: int) -> set[int]:
    """Read what the agent says until it has made that many windows durable."""
    assert process.stdout is not None
    pieces: set[int] = set()
    for line in process.stdout:
        if line.startswith("durable"):
            pieces |= set(map(int, line.split()[1:]))
            windows -= 1
        if windows <= 0:
            break
    return pieces


@pytest.mark.parametrize("windows", [1, 3, 7])
async def test_nothing_journalled_is_fetched_again_after_kill_9(
    open_store: OpenStore, state: Path, windows: int
) -> None:
    with agent(state, str(windows)) as process:
        durable = durable_until(process, windows)
        process.kill()
    store = open_store()
    fw = firmware({"fw.bin": noise(PIECES * PIECE)})
    partial = await fw.begin(store)
    assert durable <= set(partial.holds)
    for piece in partial.holds:
        assert await partial.recheck(piece), "a piece that is not good was believed"
    await fw.put(partial)
    await partial.finish()
    assert (await store.verify(None)).bad == ()


async def test_an_agent_killed_again_and_again_still_gets_there(open_store: OpenStore, state: Path) -> None:
    rng = random.Random(7)
    for _ in range(5):
        with agent(state, "3", "finish") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("finishing"):
                    await anyio.sleep(rng.random() * 0.01)  # anywhere in it, or after it
                    break
            process.kill()
        store = open_store()
        if store.images()[0].complete:
            assert not list((state / "partial").iterdir())
        else:
            assert (await firmware({"fw.bin": noise(PIECES * PIECE)}).begin(store)).holds.complete
        assert (await store.verify(None)).bad == ()
        store.close()


def _disk(folder: Path) -> Path:
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    return disk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_nothing_journalled_is_lost_in_a_power_cut(tmp_path: Path) -> None:
    disk = _disk(tmp_path)
    with mounted(tmp_path / "mnt", "-o", "loop", str(disk)) as mnt:
        with agent(mnt / "state", "5") as process:
            durable = durable_until(process, 4)
            fd = os.open(mnt, os.O_RDONLY)
            try:
                fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
            except OSError as error:
                pytest.skip(f"can't cut the power: {os.strerror(error.errno or errno.EIO)}")
            finally:
                os.close(fd)
        process.wait()
    assert len(durable) == 32
    shutil.copy(disk, tmp_path / "after")  # else a process that saw the first mount may keep its dead state alive
    with (
        mounted(tmp_path / "mnt", "-o", "loop", str(tmp_path / "after")) as mnt,
        closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store,
    ):
        fw = firmware({"fw.bin": noise(PIECES * PIECE)})
        partial = await fw.begin(store)
        assert durable <= set(partial.holds)
        await fw.put(partial)
        await partial.finish()
        assert (await store.verify(None)).bad == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_disk_too_small_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "mnt", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as mnt,
        closing(Store.open(mnt / "state", None, 100_000, lambda: 1_700_000_000.0)) as store,
    ):
        small = firmware({"fw.bin": noise(500_000)})
        await small.fetch(store)
        with pytest.raises(NoSpace, match=r"big:1 needs 1\.9 MiB, .* is free \(keep_free 97\.7 KiB\), evicting"):
            await firmware({"fw.bin": noise(2_000_000)}, name="big", version="1").begin(store)
        assert [image.name for image in store.images()] == ["gateway-os"]
        await firmware({"fw.bin": noise(600_000, seed=1)}, name="next").fetch(store)
        assert [image.name for image in store.images()] == ["next"]


@pytest.mark.parametrize("index", ["kept", "gone"])
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_full_disk_does_not_keep_an_agent_from_starting_and_making_room(tmp_path: Path, index: str) -> None:
    fw = firmware({"fw.bin": noise(300_000)})
    with mounted(tmp_path / "mnt", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as mnt:
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            await fw.fetch(store)
        if index == "gone":
            (mnt / "state/index.sqlite3").unlink()
        with suppress(OSError), (mnt / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            assert store.images()[0].complete and (await store.verify(None)).bad == ()
            with pytest.raises(NoSpace):
                await firmware({"fw.bin": noise(400_000)}, name="next").begin(store)
            await store.remove(fw.image)
            (mnt / "filler").unlink()
            await firmware({"fw.bin": noise(400_000)}, name="next").fetch(store)
        with closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store:
            assert [(image.name, image.complete) for image in store.images()] == [("next", True)]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_disk_that_somebody_else_fills_is_named_and_harms_nothing(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "mnt", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as mnt,
        closing(Store.open(mnt / "state", None, 0, lambda: 1_700_000_000.0)) as store,
    ):
        stage = await store.stage(500_000)
        source = tmp_path / "source"
        source.write_bytes(noise(500_000))
        (mnt / "filler").write_bytes(bytes(700_000))
        fd = os.open(source, os.O_RDONLY)
        with pytest.raises(NoSpace, match="fw can't be taken in: no space left on device"):
            await stage.add("fw", fd, 0o644, PIECE)
        os.close(fd)
        await stage.discard()
        assert not store.images() and not list((mnt / "state/partial").iterdir())
