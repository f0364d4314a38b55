"""What may be moved in each direction. Everything passes here; transfer only sees an `Allowance`."""

import time

from dfedge.core.units import line_rate
from dfedge.throttle.bucket import TokenBucket


class Limiter:
    """One direction's limit. Without a cap it costs nothing."""

    def __init__(self, cap: int | None) -> None:
        """`cap` is in bytes/s; None lets everything pass."""
        self.cap = cap
        self.moved = 0  # bytes so far
        self._bucket = TokenBucket(cap) if cap is not None else None

    def take(self, nbytes: int) -> float:
        """Spend `nbytes`; returns the seconds to wait before they may move."""
        self.moved += nbytes
        return 0.0 if self._bucket is None else self._bucket.take(nbytes, time.monotonic())

    @property
    def reason(self) -> str:
        """Why no more is allowed, for people."""
        return "no limit" if self.cap is None else f"a cap of {line_rate(self.cap)}"
