"""Two ways of one link share a round trip: who was first keeps the other small. Pure.

Neither knows whose queue it sees. So the smaller may now and then queue more; if that gets it more it goes on, until it
has its share. A way that is small as it has little to send gains nothing, and soon rests.
"""

from typing import Final

SMALL: Final = 0.5  # of the other way's rate: below, it is kept small
PROBE_S: Final = 1.0  # of each try
REST_S: Final = 4.0  # after one that gained nothing
GAIN: Final = 1.1  # times its rate that a try must bring
MORE: Final = 1.75  # targets that it may queue meanwhile


class Contest:
    """One of the two ways."""

    def __init__(self) -> None:
        self._since = 0.0  # of this try or rest
        self._began: float | None = None  # bytes/s when the try began; None: at rest

    def step(self, own: float, other: float, interval_s: float) -> float:
        """How many targets this way may queue; `own` and `other` are the rates of both ways."""
        if not 0 < own < SMALL * other:
            self._since, self._began = REST_S, None
            return 1.0
        self._since += interval_s
        if self._began is None:
            if self._since >= REST_S:
                self._since, self._began = 0.0, own
        elif self._since >= PROBE_S:
            self._since = 0.0
            self._began = own if own >= GAIN * self._began else None
        return 1.0 if self._began is None else MORE
