"""What the store does by itself: it ends windows in time, and writes uses down. With nothing to do it sleeps."""

from collections.abc import Callable, Iterable
from typing import Final

import anyio

from dfedge.store.health import Health
from dfedge.store.partial import PartialImage

USES_S: Final = 60.0  # seconds between two writes of uses at least: flash wears


class Housekeeping:
    """Tasks that wake up only after something was written or used, or when the disk failed."""

    def __init__(
        self, partials: Callable[[], Iterable[PartialImage]], write_uses: Callable[[], None], health: Health
    ) -> None:
        self._partials = partials
        self._health = health
        self._write_uses = write_uses
        self._written = anyio.Event()
        self._used = anyio.Event()

    def wake(self) -> None:
        """Pieces were written: a window is open, or full."""
        self._written.set()

    def note_use(self) -> None:
        """A use waits to be written."""
        self._used.set()

    async def run(self) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_windows)
            tasks.start_soon(self._write_down)
            tasks.start_soon(self._health.run)

    async def _end_windows(self) -> None:
        while True:
            self._written = anyio.Event()
            soonest = float("inf")
            for partial in list(self._partials()):
                if partial.due(anyio.current_time()) <= 0:
                    await partial.flush()
                soonest = min(soonest, partial.due(anyio.current_time()))
            with anyio.move_on_after(soonest):
                await self._written.wait()

    async def _write_down(self) -> None:
        while True:
            await self._used.wait()
            await anyio.sleep(USES_S)
            self._used = anyio.Event()
            self._write_uses()
