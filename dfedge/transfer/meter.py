"""How fast bytes move, cheaply enough to count every block."""

import time
from typing import Final

WINDOW: Final = 0.5  # seconds over which bytes are counted
IDLE: Final = 2.0  # seconds without a byte after which nothing moves


class Meter:
    """Counts bytes; `rate` is in bytes/s, smoothed over about two windows, and falls to 0 when nothing comes."""

    __slots__ = ("_at", "_bytes", "_rate", "total")

    def __init__(self) -> None:
        self.total = 0  # bytes
        self._rate = 0.0
        self._at = 0.0  # when the window began
        self._bytes = 0  # in it

    def count(self, nbytes: int) -> None:
        """Bytes moved."""
        self.total += nbytes
        self._bytes += nbytes
        now = time.monotonic()
        passed = now - self._at
        if passed >= WINDOW:
            fresh = self._bytes / passed if passed < IDLE else 0.0
            self._rate = 0.5 * self._rate + 0.5 * fresh if self._rate and passed < IDLE else fresh
            self._at, self._bytes = now, 0

    @property
    def rate(self) -> float:
        """Bytes/s now."""
        return self._rate if time.monotonic() - self._at < IDLE else 0.0
