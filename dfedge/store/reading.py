"""One file, read once: a thread reads and copies it, one hashes its pieces, one the whole; they pass buffers on.

Zeros, holes of the file or not, are neither copied nor hashed for a piece that has nothing else. The whole's SHA-256
takes them all, so it is what a sparse image costs.
"""

import hashlib
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from itertools import chain
from queue import Queue
from threading import Thread
from typing import Any, Final, NamedTuple

from anyio import from_thread

from dfedge.store.body import write_all
from dfedge.store.hole import CHUNK, data_extents, is_blank, zero_digest, zeros

BUFFERS: Final = 6  # of CHUNK bytes each: one in each of three hands, and one before each
STRETCH: Final = 16 * CHUNK  # bytes of a hole passed on at once
REPORT_EVERY: Final = 0.1  # seconds; a turn of the event loop each, and whoever tells a user waits longer
OnLoop = Callable[[int], Coroutine[Any, Any, None]]
"""Awaited with a number of bytes on the event loop, from a worker."""


class Run(NamedTuple):
    """The next bytes of the file: the buffer's first `length`, or so many zeros where there is none."""

    length: int
    buffer: bytearray | None

    def parts(self, start: int, end: int) -> Iterator[memoryview]:
        """Its bytes from `start` to `end`."""
        if self.buffer is None:
            yield from zeros(end - start)
        else:
            yield memoryview(self.buffer)[start:end]


class Reading:
    """Reads `size` bytes of `source`, and writes them to `copy` if there is one; `run` it in a worker."""

    def __init__(
        self,
        source: int,
        size: int,
        piece_length: int,
        copy: int | None,
        before_write: OnLoop | None = None,
        report: OnLoop | None = None,
    ) -> None:
        """`before_write` hears the bytes of each write: the disk has other work too. `report`, ten times a second,
        how many bytes of the file have been read.
        """
        self._source = source
        self._size = size
        self._copy = copy
        self._before_write = before_write
        self._report = report
        self._reported = time.monotonic()
        self._pieces = _Pieces(piece_length)
        self._whole = hashlib.sha256()
        self._free: Queue[bytearray] = Queue()
        self._given_up = False
        for _ in range(BUFFERS if size > CHUNK else 1):
            self._free.put(bytearray(min(CHUNK, size) or 1))

    def run(self) -> tuple[bytes, bytes]:
        """SHA-256 of the whole and of each piece. Raises EOFError where it is shorter than it was, OSError."""
        if self._size <= CHUNK:
            for run in self._read():
                self._pieces.take(run)
                self._hash(run)
        else:
            self._in_threads()
        return self._whole.digest(), self._pieces.end()

    def _in_threads(self) -> None:
        read: Queue[Run | None] = Queue(BUFFERS)
        cut: Queue[Run | None] = Queue(BUFFERS)
        threads = (
            Thread(target=self._each, args=(read, self._pieces.take, cut), name="piece hash", daemon=True),
            Thread(target=self._each, args=(cut, self._hash, None), name="whole-file hash", daemon=True),
        )
        for thread in threads:
            thread.start()
        try:
            for run in self._read():
                read.put(run)
        except BaseException:
            self._given_up = True
            raise
        finally:
            read.put(None)
            for thread in threads:
                thread.join()

    def _each(self, source: "Queue[Run | None]", take: Callable[[Run], None], then: "Queue[Run | None] | None") -> None:
        while (run := source.get()) is not None:
            if not self._given_up:
                take(run)
            if then is not None:
                then.put(run)
            elif run.buffer is not None:
                self._free.put(run.buffer)
        if then is not None:
            then.put(None)

    def _read(self) -> Iterator[Run]:
        done = 0
        for start, end in chain(data_extents(self._source, self._size), [(self._size, self._size)]):
            while done < start:
                from_thread.check_cancelled()
                yield Run(min(start - done, STRETCH), None)
                done += min(start - done, STRETCH)
                self._tell(done)
            while done < end:
                from_thread.check_cancelled()
                run = self._read_data(done, end)
                yield run
                done += run.length
                self._tell(done)
        if self._copy is not None:
            os.ftruncate(self._copy, self._size)  # what ends in zeros was not written to its end

    def _read_data(self, offset: int, end: int) -> Run:
        buffer = self._free.get()
        view = memoryview(buffer)[: end - offset]
        got = os.preadv(self._source, [view], offset)
        if got == 0:
            raise EOFError
        if is_blank(view[:got]):
            self._free.put(buffer)
            return Run(got, None)
        if self._copy is not None:
            _await(self._before_write, got)
            write_all(self._copy, [view[:got]], offset)
        return Run(got, buffer)

    def _tell(self, done: int) -> None:
        if time.monotonic() - self._reported >= REPORT_EVERY:
            self._reported = time.monotonic()
            _await(self._report, done)

    def _hash(self, run: Run) -> None:
        for part in run.parts(0, run.length):
            self._whole.update(part)


def _await(wanted: OnLoop | None, nbytes: int) -> None:
    if wanted is None:
        return
    try:
        from_thread.run(wanted, nbytes)
    except CancelledError:  # the thread's word for it; the caller expects its loop's
        from_thread.check_cancelled()
        raise


class _Pieces:
    """SHA-256 of every piece of a file whose bytes come in order."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._digests = bytearray()
        self._filled = 0  # bytes of the piece that is under way
        self._hash: hashlib._Hash | None = None  # none while it has nothing but zeros

    def take(self, run: Run) -> None:
        at = 0
        while at < run.length:
            part = min(run.length - at, self._length - self._filled)
            self._add(run, at, at + part)
            at += part
            if self._filled == self._length:
                self._end_piece()

    def _add(self, run: Run, start: int, end: int) -> None:
        if self._hash is None and run.buffer is not None:
            self._hash = hashlib.sha256()
            for part in zeros(self._filled):
                self._hash.update(part)
        if self._hash is not None:
            for part in run.parts(start, end):
                self._hash.update(part)
        self._filled += end - start

    def _end_piece(self) -> None:
        self._digests += zero_digest(self._filled) if self._hash is None else self._hash.digest()
        self._filled, self._hash = 0, None

    def end(self) -> bytes:
        """The digests, one after the other; the last piece may be shorter."""
        if self._filled:
            self._end_piece()
        return bytes(self._digests)
