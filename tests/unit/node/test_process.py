"""The process itself: memory that is not needed any more goes back to the board's other programs."""

import gc
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from dfedge.node import process, wiring

pytestmark = pytest.mark.anyio

HEAPS = """
import ctypes, re, sys, threading
from pathlib import Path
from dfedge.node.process import tune_malloc

tune_malloc()
together = threading.Barrier(4)
def work():
    together.wait(10)
    block = bytearray(300_000)
    together.wait(10)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr=", Path(sys.argv[1]).read_text())))
"""


class Session:
    """Like one that ended: a cycle that holds a buffer."""

    def __init__(self, gone: anyio.Event) -> None:
        self.itself = self
        self.buffer = bytearray(500_000)
        self._gone = gone

    def __del__(self) -> None:
        self._gone.set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's knobs")
def test_threads_get_no_heaps_of_their_own_that_each_keep_what_is_free(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAPS, str(tmp_path / "heaps")], capture_output=True, text=True, check=False, timeout=60
    )
    if "malloc_info" in done.stderr:
        pytest.skip("not glibc")
    assert done.stdout.strip() == "1", done.stderr


class Disk:
    """A store that only has to rest."""

    def __init__(self) -> None:
        self.rests = 0

    def rest(self) -> None:
        self.rests += 1


@pytest.mark.parametrize("drives", [["a transfer"], []])
async def test_a_node_gives_memory_back_whether_transfers_ever_end_or_never_begin(
    monkeypatch: pytest.MonkeyPatch, drives: list[str]
) -> None:
    monkeypatch.setattr(wiring, "SETTLE_AFTER", 0.0)
    monkeypatch.setattr(wiring, "TRIM_EVERY", 0.01)
    monkeypatch.setattr(wiring, "TIDY_EVERY", 0.05)
    monkeypatch.setattr(process, "settle", lambda: None)
    disk = Disk()
    gc.disable()  # which would come by itself, some day
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wiring._stay_small, lambda: drives, disk)  # type: ignore[arg-type]  # it only rests
        try:
            for _ in range(2):
                gone = anyio.Event()
                Session(gone)
                with anyio.fail_after(10):
                    await gone.wait()
        finally:
            gc.enable()
        tasks.cancel_scope.cancel()
    assert disk.rests == (not drives)
