"""How often a peer may do a thing: honest ones stay far below, and who does not costs us a bounded share of a core."""

from collections.abc import Callable
from typing import Final

from dfedge.core.errors import ProtocolError

WINDOW_S: Final = 10.0


class Pace:
    """Counts; more than `most` in 10 s are a flood. Looks at the clock once in `most` times."""

    def __init__(self, most: int, what: str, clock: Callable[[], float]) -> None:
        self._most = most
        self._what = what
        self._clock = clock
        self._since = clock()
        self._count = 0

    def count(self) -> None:
        """Once more. Raises ProtocolError for a flood."""
        self._count += 1
        if self._count <= self._most:
            return
        now = self._clock()
        if now - self._since < WINDOW_S:
            raise ProtocolError(f"{self._what} more than {self._most:,} times in {WINDOW_S:.0f} s")
        self._since, self._count = now, 1
