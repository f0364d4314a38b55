"""How many bytes may be under way: few enough that nobody waits behind them (LEDBAT's idea, RFC 6817). Pure.

The window follows the queueing delay: it grows while the path queues less than the target, shrinks in proportion
beyond, and at once by two fifths when the queue is three times what it should be.
"""

from math import inf
from typing import Final

FIRST: Final = 128 * 1024  # bytes: 10 ms of a 100 Mbit/s link
LEAST_PER_PEER: Final = 4 * 1024  # bytes, not quite three packets: with fewer a lost one is not noticed
ROOM_PER_PEER: Final = 32 * 1024  # bytes, two blocks: what one peer leaves unused no other can take
ROOM_S: Final = 0.2  # seconds of the link that all rooms may come to
MOST: Final = 4 * 1024 * 1024  # bytes
GAIN: Final = 0.25  # of the window a step
KEPT: Final = 0.5  # targets of what was proven
USED: Final = 0.5  # of the window must be under way for it to grow


class Window:
    """Of one direction of one interface, for all peers together."""

    def __init__(self) -> None:
        self.size = float(FIRST)

    def step(
        self,
        delay_s: float | None,
        rtt_s: float | None,
        own: float,
        peers: int,
        target_s: float,
        proven: float = 0.0,
        spare: float = 0.0,
    ) -> None:
        """Take one step of 100 ms; `own` is our rate in bytes/s, `proven` what these paths have carried before.

        Half the target's worth of what was proven stays: less under way can't be what queues. `spare` is what the link
        is known to carry while it carries less: then no queue there is ours, and each peer gets its room.
        """
        if delay_s is None or rtt_s is None or target_s == inf:
            return
        off = max(-1.5, min(1.0, (target_s - delay_s) / target_s))
        if self.size < min(ROOM_PER_PEER * peers, ROOM_S * spare):
            self.size *= 1 + GAIN
        elif delay_s > 3 * target_s:
            self.size *= 0.6
        elif off < 0 or own * max(rtt_s, target_s / 2) >= USED * self.size:
            self.size *= 1 + GAIN * off
        least = max(LEAST_PER_PEER * max(1, peers), KEPT * target_s * proven)
        self.size = max(least, min(MOST, self.size))
