"""A process to be recorded: fetches, publishes, pins and removes in a new store, and says what it has done.

python -m crash.busy_store STATE
"""

import os
import sys
import tempfile
from pathlib import Path

import anyio
from unit.store.firmware import PIECE, Firmware, firmware, noise

from dfedge.core.image.manifest import Manifest
from dfedge.store.store import Store

BEFORE = firmware({"a": noise(2 * PIECE, seed=1)}, name="before", version="1")
FETCHED = firmware({"fw.bin": noise(7 * PIECE + 123), "boot": noise(3 * PIECE, seed=2), "empty": b""})
SHARING = firmware({"boot": noise(3 * PIECE, seed=2), "own": noise(PIECE, seed=3)}, name="sharing", version="1")
PUBLISHED = {"one": noise(5 * PIECE, seed=4), "two": noise(777, seed=5)}
ORDER = (3, 0, 9, 1, 7, 2, 8, 10, 5, 4, 6)
WINDOW = 4  # pieces between two flushes


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def fetch(store: Store, fw: Firmware, order: tuple[int, ...]) -> None:
    partial = await fw.begin(store)
    say("begun", fw.manifest.name)
    put: list[int] = []
    for piece in order:
        await partial.put(piece, fw.blocks(piece))
        say("put", fw.manifest.name, piece)
        put.append(piece)
        if len(put) == WINDOW:
            await partial.flush()
            say("durable", fw.manifest.name, *put)
            put.clear()
    await partial.finish()
    say("complete", fw.manifest.name)


async def publish(store: Store, folder: Path) -> None:
    stage = await store.stage(sum(map(len, PUBLISHED.values())))
    entries = []
    for path, data in PUBLISHED.items():
        source = folder / path
        source.write_bytes(data)
        fd = os.open(source, os.O_RDONLY)
        entries.append(await stage.add(path, fd, 0o644, PIECE))
        os.close(fd)
    manifest = Manifest("fleet", "published", "1", (), 1_700_000_000, tuple(entries))
    await stage.commit(manifest, manifest.encode(), b"signature of it", "alice")
    say("complete", "published")


async def main(state: Path) -> None:
    store = Store.open(state, None, 0, lambda: 1_700_000_000.0)
    await fetch(store, BEFORE, (1, 0))
    await fetch(store, FETCHED, ORDER)
    await store.pin(FETCHED.image)
    say("pinned", "gateway-os")
    with tempfile.TemporaryDirectory() as folder:
        await publish(store, Path(folder))
    await fetch(store, SHARING, (3,))
    say("removing", "before")
    await store.remove(BEFORE.image)
    say("removed", "before")
    store.close()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
