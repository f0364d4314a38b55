"""A token bucket: pure arithmetic, time comes in."""

import math
from typing import Final

BURST_S: Final = 0.02  # seconds of the rate that may go at once: smooth enough for a shared line
MIN_BURST: Final = 1500  # bytes, one packet
SOON: Final = 1e-6  # seconds that nobody can wait


class TokenBucket:
    """Lets bytes pass at `rate` bytes/s on average. Debt is allowed: a block larger than the burst waits its time."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float = math.inf) -> None:
        self.rate = rate  # bytes/s, set by `change`; infinite: all may pass
        self._tokens = self.burst
        self._at: float | None = None
        if rate <= 0:
            raise ValueError(f"a rate of {rate} bytes/s lets nothing pass")

    @property
    def burst(self) -> float:
        """Bytes that may go at once after a rest."""
        return max(MIN_BURST, self.rate * BURST_S) if self.rate < math.inf else math.inf

    def change(self, rate: float, now: float) -> None:
        """Another rate from now on; what is owed stays owed, but no longer than a second of the new rate."""
        if rate <= 0:
            raise ValueError(f"a rate of {rate} bytes/s lets nothing pass")
        self._fill(now)
        was_free = self.rate == math.inf
        self.rate = rate
        self._tokens = 0.0 if was_free and rate < math.inf else max(-rate, min(self._tokens, self.burst))

    def wait(self, now: float) -> float:
        """Seconds until bytes may move; 0.0: now."""
        if self.rate == math.inf:
            return 0.0
        self._fill(now)
        wait = -self._tokens / self.rate
        return wait if wait > SOON else 0.0

    def spend(self, nbytes: float, now: float) -> None:
        """Bytes move, or turned out to have moved; a negative number gives some back."""
        if self.rate < math.inf:
            self._fill(now)
            self._tokens = min(self._tokens - nbytes, self.burst)

    def _fill(self, now: float) -> None:
        if self._at is not None and self.rate < math.inf:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
