"""Another flow's queue in a round trip of ours: how much longer we may let the path queue for it. Pure.

A round trip cannot tell its two ways, nor whose queue stands there. Two know more: who gives way to another flow
knows which of its ways that flow fills, and tells its peers. But how long that queue is shows only while nothing of
ours queues: while the way that is controlled has room. Full, it may be our own, and what was granted fades.
"""

import math
from typing import Final

FADE: Final = 0.95  # of what was granted, in a step of 100 ms without room
TELL_S: Final = 0.3  # seconds between two words to one peer
RENEW_S: Final = 1.0  # seconds after which the same is said again; the peer forgets it after 3
CHANGED_MS: Final = 3  # worth a word before that


class Strain:
    """Of one way of one interface: the queue that stands in the other way, or in a peer's link."""

    def __init__(self) -> None:
        self.granted_s = 0.0

    def step(self, told_s: float, *, has_room: bool) -> float:
        """Take a step of 100 ms; `told_s` is what is said to stand there. Returns what the path may queue for it."""
        self.granted_s = told_s if has_room else min(told_s, FADE * self.granted_s)
        return self.granted_s


class Told:
    """What one peer was told last, in ms up and down."""

    def __init__(self) -> None:
        self._said = (0, 0)
        self._at = -math.inf

    @property
    def is_over(self) -> bool:
        """Whether the peer knows of nothing."""
        return not any(self._said)

    def is_due(self, strain: tuple[int, int], now: float) -> bool:
        """Whether to say it now; then it counts as said."""
        changed = max(abs(new - old) for new, old in zip(strain, self._said, strict=True))
        silent = now - self._at
        ends = not any(strain) and not self.is_over
        if silent < TELL_S or not (ends or changed >= CHANGED_MS or (any(strain) and silent >= RENEW_S)):
            return False
        self._said, self._at = strain, now
        return True
