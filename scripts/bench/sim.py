"""A table of simulated fleets: how near the bound, what the seed sends, control messages, cost of a decision.

python scripts/bench/sim.py --nodes 8,16,32 --pieces 256,512
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleetsim.fleet import lan, sparse

HEAD = ("nodes", "pieces", "x bound", "seed x", "waste %", "messages/node", "us/decision", "real s")


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


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
            piece_bytes = args.piece_kib * 1024
            if nodes <= args.neighbours:
                fleet = lan(nodes, pieces, args.rate, piece_bytes, args.seed)
            else:
                fleet = sparse(nodes, pieces, args.neighbours, args.rate, piece_bytes, args.seed)
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
