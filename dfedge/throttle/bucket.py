"""A token bucket: pure arithmetic, time comes in."""

from typing import Final

BURST_S: Final = 0.02  # seconds of the rate that may go at once: smooth enough for a shared line
MIN_BURST: Final = 1500  # bytes, one packet


class TokenBucket:
    """Lets bytes pass at `rate` bytes/s on average. Debt is allowed: a block larger than the burst waits its time."""

    def __init__(self, rate: float) -> None:
        if rate <= 0:
            raise ValueError(f"a rate of {rate} bytes/s lets nothing pass")
        self.rate = rate
        self._tokens = 0.0
        self._at: float | None = None

    def take(self, nbytes: int, now: float) -> float:
        """Spend `nbytes`; returns the seconds to wait before they may move."""
        burst = max(MIN_BURST, self.rate * BURST_S)
        if self._at is None:
            self._tokens = burst
        else:
            self._tokens = min(burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= nbytes
        return max(0.0, -self._tokens / self.rate)
