"""What is measured: how many nodes, what image, what links, and what goes wrong on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from board import promise

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scenario:
    """One seed, node 0, and `takers`, nodes 1 to n; all of them start at once unless they are `late`."""

    name: str
    takers: int
    size: int  # bytes of the image
    rate_mbit: float | None = None  # of every link, both directions; None: not shaped
    taker_rates: tuple[float | None, ...] = ()  # where not all takers have the same
    loss_permille: int = 0  # of all frames at the switch
    late: Mapping[int, float] = field(default_factory=dict)  # taker -> its start, as a share of S/R
    leaves: Mapping[int, float] = field(default_factory=dict)  # taker -> seconds after the start; it is killed
    seed_dies_at: float | None = None  # it is killed when it has sent that many images

    def __post_init__(self) -> None:
        promise(1 <= self.takers <= 98, f"{self.name}: {self.takers} takers; 1 to 98 are possible")
        promise(self.size > 0, f"{self.name}: an image of {self.size} bytes")
        promise(
            len(self.taker_rates) in {0, self.takers},
            f"{self.name}: {len(self.taker_rates)} rates for {self.takers} takers",
        )
        for taker in (*self.late, *self.leaves):
            promise(1 <= taker <= self.takers, f"{self.name}: there is no taker {taker}, they are 1 to {self.takers}")

    @property
    def rates(self) -> tuple[float | None, ...]:
        """Mbit/s of each link, the seed's first."""
        return (self.rate_mbit, *(self.taker_rates or (self.rate_mbit,) * self.takers))

    @property
    def numbers(self) -> range:
        """The takers' node numbers."""
        return range(1, self.takers + 1)

    @property
    def stayers(self) -> tuple[int, ...]:
        """The takers that must have all of it at the end."""
        return tuple(taker for taker in self.numbers if taker not in self.leaves)

    def line_s(self, node: int = 0) -> float | None:
        """S/R: seconds the bare image needs on that node's link; None where it is not shaped."""
        rate = self.rates[node]
        return self.size * 8 / (rate * 1e6) if rate else None

    def start_s(self, taker: int) -> float:
        """When that taker starts, in seconds after the clock. Raises Broken for a late one on an unshaped link."""
        share = self.late.get(taker, 0.0)
        line = self.line_s(0)
        promise(not share or line is not None, f"{self.name}: late joiners need a rate, S/R is the measure")
        return share * (line or 0.0)

    @property
    def limit_s(self) -> float:
        """How long a run may take: one copy for each node over the seed's link, three times, and a minute."""
        slowest = max((self.line_s(node) or 0.0 for node in range(self.takers + 1)), default=0.0)
        return 60.0 + 3.0 * max(self.takers * (self.line_s(0) or self.size / (50 * MIB)), slowest)

    @property
    def words(self) -> str:
        """It in one line, for a heading."""
        links = f"{self.rate_mbit:g} Mbit/s" if self.rate_mbit else "unshaped"
        if self.taker_rates:
            kinds = sorted({rate or 0.0 for rate in self.taker_rates}, reverse=True)
            counts = [f"{sum((rate or 0.0) == kind for rate in self.taker_rates)} at {kind:g}" for kind in kinds]
            links = f"seed at {self.rate_mbit or 0:g}, {', '.join(counts)} Mbit/s"
        faults = [f"{self.loss_permille / 10:g} % loss"] if self.loss_permille else []
        faults += [f"node {taker} joins at {share:.0%} of S/R" for taker, share in self.late.items()]
        faults += [f"node {taker} is killed at {seconds:g} s" for taker, seconds in self.leaves.items()]
        if self.seed_dies_at is not None:
            faults.append(f"the seed is killed when it has sent {self.seed_dies_at:g} ×")
        head = f"{self.takers} × {self.size / MIB:g} MiB, {links if self.taker_rates else 'links ' + links}"
        return ", ".join([head, *faults])


NAMED: Final[Mapping[str, Scenario]] = {
    one.name: one
    for one in (
        Scenario("fast8", 8, 64 * MIB, 100.0),
        Scenario("mid16", 16, 64 * MIB, 50.0),
        Scenario("unshaped4", 4, 256 * MIB),
        Scenario("unshaped1", 1, 1024 * MIB),
        Scenario("many32", 32, 16 * MIB, 20.0),
        Scenario("mixed", 8, 32 * MIB, 100.0, taker_rates=(100.0,) * 4 + (10.0,) * 4),
        Scenario("seed-dies", 8, 64 * MIB, 100.0, seed_dies_at=1.05),
        Scenario("late", 8, 64 * MIB, 100.0, late={8: 0.5}),
        Scenario("loss1", 8, 64 * MIB, 100.0, loss_permille=10),
        Scenario("agents60", 59, 16 * MIB),  # and the seed
    )
}
