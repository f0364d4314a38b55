"""A minute of numbers, and a line of it as wide as there is room."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

SPAN_S: Final = 60.0
SLOTS: Final = 60  # samples kept; of those that come faster the highest of a second counts
STEPS: Final = "▁▂▃▄▅▆▇█"
ASCII_STEPS: Final = "_.:-=+*#"  # where the terminal can't show the others


class History:
    """What was measured over the last minute, by name."""

    def __init__(self) -> None:
        self._slots: deque[tuple[float, dict[str, float]]] = deque(maxlen=SLOTS)

    def add(self, now: float, values: Mapping[str, float]) -> None:
        """A sample; `now` is monotonic seconds."""
        while self._slots and now - self._slots[0][0] >= SPAN_S:
            self._slots.popleft()
        if self._slots and now - self._slots[-1][0] < SPAN_S / SLOTS * 0.9:  # who waits a second wakes a little off it
            last = self._slots[-1][1]
            last |= {name: max(value, last.get(name, value)) for name, value in values.items()}
        else:
            self._slots.append((now, dict(values)))

    def of(self, name: str) -> list[float]:
        """The samples of one name, the oldest first; none where it was never measured."""
        if not any(name in values for _, values in self._slots):
            return []
        return [values.get(name, 0.0) for _, values in self._slots]


def sparkline(values: Sequence[float], width: int, top: float | None = None, steps: str = STEPS) -> str:
    """At most `width` characters, of each stretch its highest; full height is `top`, or what was highest."""
    if len(values) < 2 or width < 1:
        return ""
    count = min(width, len(values))
    cuts = [len(values) * at // count for at in range(count + 1)]
    heights = [max(values[start:end]) for start, end in pairwise(cuts)]
    most = top or max(heights) or 1.0
    return "".join(steps[min(len(steps) - 1, max(0, int(height / most * len(steps))))] for height in heights)
