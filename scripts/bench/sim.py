"""A table of simulated fleets: how near the bound, what the seed sends, control messages, cost of a decision.

python scripts/bench/sim.py --nodes 8,16,32 --pieces 256,512
"""

import argparse
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleetsim.fleet import Fleet, Link

from dfedge.core.image.piecemap import PieceMap

HEAD = ("nodes", "pieces", "x bound", "seed x", "waste %", "messages/node", "us/decision", "real s")


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def fleet_of(nodes: int, pieces: int, neighbours: int, rate: float, piece_bytes: int, seed: int) -> Fleet:
    """A full mesh up to `neighbours`; above, each newcomer picks half as many of those before it at random."""
    fleet = Fleet(pieces, piece_bytes, seed)
    rng = Random(seed)
    names = ["s"]
    fleet.add("s", Link.mbit(rate), PieceMap.full(pieces))
    for number in range(nodes):
        near = names if nodes <= neighbours else rng.sample(names, min(neighbours // 2, len(names)))
        fleet.add(f"n{number}", Link.mbit(rate), near=near)
        names.append(f"n{number}")
    return fleet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=numbers, default=[1, 2, 8, 16, 32], help="fleet sizes without the seed")
    parser.add_argument("--pieces", type=numbers, default=[256, 512])
    parser.add_argument("--piece-kib", type=int, default=128)
    parser.add_argument("--rate", type=float, default=100, help="Mbit/s of every link")
    parser.add_argument("--neighbours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(" | ".join(HEAD))
    print(" | ".join("-" * len(name) for name in HEAD))
    for nodes in args.nodes:
        for pieces in args.pieces:
            fleet = fleet_of(nodes, pieces, args.neighbours, args.rate, args.piece_kib * 1024, args.seed)
            began = time.perf_counter()
            fleet.run(fleet.all_done, limit=3600)
            real = time.perf_counter() - began
            row = (
                str(nodes),
                str(pieces),
                f"{fleet.makespan() / (fleet.image_bytes / (args.rate * 1e6 / 8)):.3f}",
                f"{fleet.seed_copies():.3f}",
                f"{100 * fleet.waste():.2f}",
                f"{sum(node.messages for node in fleet.takers) / nodes:.0f}",
                f"{1e6 * fleet.thought / fleet.decisions:.1f}",
                f"{real:.1f}",
            )
            print(" | ".join(cell.rjust(len(name)) for cell, name in zip(row, HEAD, strict=True)), flush=True)


if __name__ == "__main__":
    main()
