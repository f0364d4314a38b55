"""The store's threads: as many at once as a busy host leaves us."""

import threading

import anyio
import pytest

from dfedge.store.worker import Workers

pytestmark = pytest.mark.anyio


class Crowd:
    """How many are at work at the same time."""

    def __init__(self, wanted: int) -> None:
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._wanted = wanted
        self.here = self.most = 0

    def visit(self) -> None:
        with self._lock:
            self.here += 1
            self.most = max(self.most, self.here)
            if self.here >= self._wanted:
                self._full.set()
        self._full.wait(0.2)
        with self._lock:
            self.here -= 1


async def _work(workers: Workers, crowd: Crowd) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(workers.work, crowd.visit)


async def test_on_a_busy_host_one_thread_works_at_a_time_and_all_do_when_it_is_quiet() -> None:
    workers = Workers(threads=2)
    try:
        crowd = Crowd(2)
        await _work(workers, crowd)
        assert crowd.most == 2
        workers.at_once, crowd = 1, Crowd(2)
        await _work(workers, crowd)
        assert crowd.most == 1
    finally:
        workers.close()
