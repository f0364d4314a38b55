"""A table of simulated fleets: how near the bound, what the seed sends, control bytes, fairness, cost of a decision.

python scripts/bench/sim.py --nodes 300,1000 --scenario clean,churn
"""

import argparse
import gc
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from argument import list_of, number, one_of, whole
from fleetsim.crowd import MBIT, SAMPLE, Crowd, Node

HEAD = (
    "scenario", "nodes", "x bound", "median", "seed x", "control %", "fairness", "waste %", "us/event", "us/piece",
    "CPU s", "MiB",
)  # fmt: skip
LIMIT = 50.0  # times S/R; no fleet takes so long


def clean(crowd: Crowd, nodes: int, rate: float) -> list[Node]:
    """All start at once on links of one rate."""
    everyone = [crowd.add(rate, whole=True), *(crowd.add(rate) for _ in range(nodes))]
    crowd.mix(everyone)
    return everyone[1:]


def churn(crowd: Crowd, nodes: int, rate: float) -> list[Node]:
    """Three in ten leave, one by one, while three in ten come."""
    early = clean(crowd, nodes - nodes * 3 // 10, rate)
    lasts = crowd.pieces * crowd.piece_bytes / (rate * MBIT)
    for node in crowd.rng.sample(early, nodes * 3 // 10):
        crowd.after(crowd.rng.uniform(0.1, 0.9) * lasts, crowd.leave, node)
    for _ in range(nodes * 3 // 10):
        crowd.after(crowd.rng.uniform(0.1, 0.9) * lasts, come, crowd, rate)
    return early


def come(crowd: Crowd, rate: float) -> None:
    crowd.meet(crowd.add(rate), [node for node in crowd.nodes if node.here])


def liars(crowd: Crowd, nodes: int, rate: float) -> list[Node]:
    """One in a hundred says that it has everything and sends nothing."""
    everyone = [crowd.add(rate, whole=True)]
    everyone += [crowd.add(rate, liar=number % 100 == 50) for number in range(nodes)]
    crowd.mix(everyone)
    return everyone[1:]


def mixed(crowd: Crowd, nodes: int, rate: float) -> list[Node]:
    """One in three has a tenth of the rate, one in three ten times as much; the seed has the rate itself."""
    everyone = [crowd.add(rate, whole=True)]
    everyone += [crowd.add(rate * (0.1, 1, 10)[number % 3]) for number in range(nodes)]
    crowd.mix(everyone)
    return everyone[1:]


def partition(crowd: Crowd, nodes: int, rate: float) -> list[Node]:
    """At 0.25 S/R the half without the seed is cut off, and at 0.75 S/R the same links are back."""
    takers = clean(crowd, nodes, rate)
    far = set(takers[: nodes // 2])
    cut: list[tuple[Node, Node]] = []

    def sever() -> None:
        cut.extend((one, two) for one in far for two in list(one.near.values()) if two not in far)
        cut.sort(key=lambda pair: (pair[0].id, pair[1].id))
        for pair in cut:
            crowd.part(*pair)

    def heal() -> None:
        for pair in cut:
            crowd.connect(*pair)

    lasts = crowd.pieces * crowd.piece_bytes / (rate * MBIT)
    crowd.after(0.25 * lasts, sever)
    crowd.after(0.75 * lasts, heal)
    return takers


SCENARIOS: dict[str, Callable[[Crowd, int, float], list[Node]]] = {
    each.__name__: each for each in (clean, churn, liars, mixed, partition)
}


def bound(crowd: Crowd, rate: float) -> float:
    """Seconds that no schedule beats with links of one rate: Mundinger, Weber and Weiss, 2008."""
    hops = math.ceil(math.log2(len(crowd.takers) + 1))
    return crowd.pieces * crowd.piece_bytes / (rate * MBIT) * (crowd.pieces + hops - 1) / crowd.pieces


def row(scenario: str, nodes: int, args: argparse.Namespace) -> tuple[str, ...]:
    began = time.process_time()
    crowd = Crowd(args.pieces, args.neighbours, args.piece_kib * 1024, args.seed)
    SCENARIOS[scenario](crowd, nodes, args.rate)
    crowd.until(0.01)
    gc.collect()
    gc.disable()  # it would walk over millions of objects that all live to the end
    whole = crowd.run(LIMIT * bound(crowd, args.rate))
    spent = time.process_time() - began
    gc.enable()
    seed = crowd.nodes[0]
    took = sorted(  # who has a faster link than the seed still waits for it
        (node.done - node.started) / bound(crowd, min(node.rate, seed.rate) / MBIT)
        for node in crowd.takers
        if node.done is not None
    )
    if not whole:
        took.append(math.inf)
    return (
        scenario,
        f"{nodes:,}",
        f"{took[-1]:.3f}",
        f"{took[len(took) // 2]:.3f}",
        f"{seed.sent / crowd.pieces:.3f}",
        f"{100 * crowd.control():.2f}",
        f"{crowd.fairness():.3f}",
        f"{100 * crowd.waste():.2f}",
        f"{1e6 * SAMPLE * crowd.thought / crowd.events:.1f}",
        f"{1e6 * SAMPLE * crowd.thought / crowd.asks:.0f}",
        f"{spent:.0f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=list_of(whole()), default=[300], help="fleet sizes without the seed")
    parser.add_argument("--scenario", type=list_of(one_of(SCENARIOS)), default=list(SCENARIOS))
    parser.add_argument("--pieces", type=whole(), default=256)
    parser.add_argument("--piece-kib", type=whole(), default=1024)
    parser.add_argument(
        "--rate", type=number(0.001), default=100, help="Mbit/s of the seed's link, and of the usual one"
    )
    parser.add_argument("--neighbours", type=whole(), default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |")
    print("|---" * len(HEAD) + "|")
    for nodes in args.nodes:
        for scenario in args.scenario:
            print(f"| {' | '.join(row(scenario, nodes, args))} |", flush=True)


if __name__ == "__main__":
    main()
