"""Scrubbing: once a day a slice of the store is read again, when nothing else is to be done."""

import logging
from collections.abc import Callable
from typing import Final

import anyio

from dfedge.core.errors import DfedgeError
from dfedge.core.seams import Clock
from dfedge.core.units import size
from dfedge.store.scrub import first_wait, interval
from dfedge.store.store import Store

LOOK: Final = 3600.0  # seconds between two looks at the clock, which goes on while a board sleeps and timers do not
PATIENCE: Final = 3600.0  # seconds that one slice stands back for transfers; a node that is never quiet must not rot
QUIET: Final = 2.0  # seconds between two looks whether transfers are over
REST: Final = 1.0  # as long as a piece took to read, the reader rests: half a disk and half a core at most
LONGEST_REST: Final = 1.0  # seconds; a board may have slept meanwhile
log = logging.getLogger("dfedge.scrub")


class Scrub:
    """Reads the whole store once in `period` seconds. `busy` says whether transfers run."""

    def __init__(
        self, store: Store, period: float, busy: Callable[[], bool], now: Callable[[], float], clock: Clock
    ) -> None:
        """`now` tells seconds since 1970; `clock` monotonic seconds, best those that count while a board sleeps."""
        self._store = store
        self._period = period
        self._busy = busy
        self._now = now
        self._clock = clock
        self._stood_back = 0.0  # seconds, in this slice
        self._last = 0.0

    async def run(self) -> None:
        """Scrub until cancelled. The calendar counts only at the start, so that no jump of it brings more slices."""
        every = interval(self._period)
        due = self._clock() + first_wait(self._store.scrubber.state.at, self._now(), every)
        while True:
            await self._until(due)
            due = self._clock() + every
            await self._slice(every / self._period)

    async def _until(self, due: float) -> None:
        while True:
            left = due - self._clock()
            if left <= 0:
                return
            await anyio.sleep(min(left, LOOK))

    async def _slice(self, share: float) -> None:
        self._stood_back, self._last = 0.0, self._clock()
        try:
            done = await self._store.scrubber.slice(share, self._before)
        except DfedgeError as error:
            log.warning("scrub failed error=%s", error)
            return
        log.info(
            "scrubbed pieces=%d bytes=%d bad=%d round=%s",
            done.pieces, done.nbytes, done.bad, "done" if done.round_done else "goes on",
        )  # fmt: skip
        if done.bad:
            log.error("scrub found rot pieces=%d of=%s", done.bad, size(done.nbytes))

    async def _before(self) -> None:
        """Rest between two pieces, and stand back for transfers."""
        await anyio.sleep(min(LONGEST_REST, (self._clock() - self._last) * REST))
        while self._busy() and self._stood_back < PATIENCE:
            self._stood_back += QUIET
            await anyio.sleep(QUIET)
        self._last = self._clock()
