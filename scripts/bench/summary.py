"""From runs to numbers: medians with their spread, and ratios between systems of the same round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.scenario import Scenario
from bench.trial import Trial

OURS: Final = "dfedge"
GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, the least and the most."""

    mid: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None of nothing."""
        found = sorted(values)
        return cls(median(found), found[0], found[-1]) if found else None

    def text(self, digits: int = 2) -> str:
        mid, low, high = (f"{value:.{digits}f}" for value in (self.mid, self.low, self.high))
        return mid if low == high else f"{mid} [{low}–{high}]"


@dataclass(frozen=True, slots=True)
class Row:
    """What the runs of one system gave in one scenario."""

    system: str
    runs: int
    failures: tuple[str, ...]
    makespan_s: Spread | None
    seed_copies: Spread | None  # bytes the seed sent, as images
    cpu_s: Spread | None
    cpu_s_per_gib: Spread | None  # delivered
    taker_mib: Spread | None
    load: Spread | None


def rows(scenario: Scenario, trials: Sequence[Trial]) -> list[Row]:
    """A row for each system, in the order they ran."""
    made = []
    for system in dict.fromkeys(trial.system for trial in trials):
        runs = [trial for trial in trials if trial.system == system]
        good = [trial for trial in runs if not trial.failed]
        delivered = len(scenario.stayers) * scenario.size / GIB
        made.append(
            Row(
                system,
                len(runs),
                tuple(trial.failed for trial in runs if trial.failed),
                Spread.of(trial.makespan_s for trial in good),
                Spread.of(trial.seed_sent / scenario.size for trial in good),
                Spread.of(trial.cpu_s for trial in good),
                Spread.of(trial.cpu_s / delivered for trial in good),
                Spread.of(trial.taker_peak / 2**20 for trial in good),
                Spread.of(trial.load for trial in runs),
            )
        )
    return made


def ratios(trials: Sequence[Trial], value: Callable[[Trial], float]) -> dict[str, Spread]:
    """For each other system, ours divided by it within each round; only rounds in which both ended well."""
    found: dict[str, list[float]] = {}
    good = {(trial.round, trial.system): trial for trial in trials if not trial.failed}
    for (round_, system), trial in good.items():
        ours = good.get((round_, OURS))
        if ours is not None and system != OURS and value(trial) > 0:
            found.setdefault(system, []).append(value(ours) / value(trial))
    return {system: spread for system, values in found.items() if (spread := Spread.of(values)) is not None}


def by_rate(scenario: Scenario, trials: Sequence[Trial], system: str) -> dict[float, Spread]:
    """Where takers have different links: when the last taker of each rate was done."""
    kinds = {rate for rate in scenario.taker_rates if rate}
    made = {}
    for kind in kinds:
        takers = [taker for taker in scenario.stayers if scenario.rates[taker] == kind]
        spread = Spread.of(
            max(trial.done_s[taker] for taker in takers)
            for trial in trials
            if trial.system == system and not trial.failed and takers
        )
        if spread is not None:
            made[kind] = spread
    return made
