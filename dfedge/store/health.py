"""Whether the disk is to be relied on. After an error it is asked now and then, until it takes a write again."""

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from dfedge.store.layout import sync_folder

PROBE_S: Final = 5.0  # seconds between two questions to a disk that failed; a sound one is never asked
PROBE: Final = bytes(4096)
log = logging.getLogger("dfedge.store")


class Health:
    """Remembers the first error, and takes it back when the disk is well. `run` it."""

    def __init__(self, state: Path, in_doubt: Callable[[], bool], tidy: Callable[[], Awaitable[None]]) -> None:
        """`in_doubt` says that a file is there still whose bytes may not have reached the disk; `tidy` clears away
        what the failing disk kept.
        """
        self._path = state / "probe"
        self._in_doubt = in_doubt
        self._tidy = tidy
        self._failed = anyio.Event()
        self.reason: str | None = None

    def fail(self, reason: str) -> None:
        """The disk failed. Call it on the event loop."""
        if self.reason is None:
            log.error("degraded reason=%r", reason)
            self.reason = reason
        self._failed.set()

    async def run(self) -> None:
        """Ask a disk that failed until it is well. With a sound one it sleeps."""
        while True:
            await self._failed.wait()
            await anyio.sleep(PROBE_S)
            if not self._in_doubt() and await to_thread.run_sync(self._takes_writes):
                log.warning("disk well again after=%r", self.reason)
                await self._tidy()
                self.reason = None
                self._failed = anyio.Event()

    def _takes_writes(self) -> bool:
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                written = os.write(fd, PROBE)
                os.fsync(fd)
            finally:
                os.close(fd)
                with suppress(FileNotFoundError):
                    self._path.unlink()
            sync_folder(self._path.parent)
        except OSError:
            return False
        return written == len(PROBE)
