"""What was seen at node 0 of a situation, and how it is read: `bench.courtesy` prints it."""

import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

HEADERS: Final = 1.01  # bytes the link counts for a byte of the flow; segments that travel as one have one header
Series = list[tuple[float, float]]


@dataclass(slots=True)
class Record:
    """What was seen at node 0, seconds after dfedge began (or the flow, where there is no dfedge)."""

    link: dict[str, Series] = field(default_factory=lambda: {"down": [], "up": []})  # bytes so far
    flow: Series = field(default_factory=list)  # bytes so far
    probe: Series = field(default_factory=list)  # ms
    peers: dict[str, int] = field(default_factory=dict)  # bytes sent to each, from the 4th second to the end
    cpu: float = 0.0  # cores, of node 0's agent
    reasons: list[str] = field(default_factory=list)

    def rate(self, way: str, since: float, until: float, *, ours: bool = True) -> float:
        """Mbit/s on the wire; of dfedge, or of everybody."""
        total = _between(self.link[way], since, until)
        return (total - (HEADERS * _between(self.flow, since, until) if ours else 0.0)) * 8 / 1e6 / (until - since)

    def flow_rate(self, since: float, until: float) -> float:
        """Mbit/s of the other flow's payload."""
        return _between(self.flow, since, until) * 8 / 1e6 / (until - since)

    def delay(self, since: float, until: float) -> float:
        """The probe's median in ms."""
        return statistics.median([ms for at, ms in self.probe if since <= at < until] or [0.0])

    def windows(self, way: str, since: float, until: float) -> list[float]:
        """Mbit/s in each tenth of a second."""
        points = [point for point in self.link[way] if since <= point[0] <= until]
        return [(after[1] - before[1]) * 8 / 1e6 / (after[0] - before[0]) for before, after in pairwise(points)]


def _between(series: Series, since: float, until: float) -> float:
    """How much it grew, points between taken as on a line."""
    return _at(series, until) - _at(series, since)


def _at(series: Series, when: float) -> float:
    before = next((point for point in reversed(series) if point[0] <= when), None)
    after = next((point for point in series if point[0] > when), None)
    if before is None:
        return 0.0
    if after is None:
        return before[1]
    return before[1] + (after[1] - before[1]) * (when - before[0]) / (after[0] - before[0])
