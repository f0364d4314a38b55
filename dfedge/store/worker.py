"""The store's own threads, for jobs of one piece: twice as cheap a call as a general pool's, and there are many."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, TypeVar, TypeVarTuple

from anyio import CancelScope

THREADS: Final = 2  # more would only queue for the same disk

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Job:
    __slots__ = ("call", "done", "error", "loop")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()
        self.error: BaseException | None = None

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Workers:
    """A few threads that start with the first job and end with `close`; each begins with `prepare`."""

    def __init__(self, threads: int = THREADS, prepare: Callable[[], None] = lambda: None) -> None:
        self._count = threads
        self._prepare = prepare
        self.at_once = threads  # how many of them may work; where it is one they take turns
        self._turn = Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()  # as long as there are callers: each waits for its job
        self._threads: list[Thread] = []

    async def work(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a short job in a thread. A cancelled caller waits for its end, so that nothing is left half known."""
        if not self._threads:
            self._start()
        result: list[T] = []
        one = _Job(lambda: result.append(job(*args)))
        self._jobs.put(one)
        with CancelScope(shield=True):
            await one.done
        if one.error is not None:
            raise one.error
        return result[0]

    def in_turn(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a short job in the calling thread, and only while no other works where they take turns."""
        if self.at_once > 1:
            return job(*args)
        with self._turn:
            return job(*args)

    def _start(self) -> None:
        for number in range(self._count):
            thread = Thread(target=self._run, name=f"store {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        self._prepare()
        while (job := self._jobs.get()) is not None:
            try:
                self.in_turn(job.call)
            except BaseException as error:
                job.error = error
            with suppress(RuntimeError):  # the loop was closed over it
                job.loop.call_soon_threadsafe(job.end)
            del job  # and with it the blocks of a piece

    def close(self) -> None:
        """End the threads, once they have done what they have."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
