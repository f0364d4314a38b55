"""Where the time of an agent goes: one run with the agents of the seed and of the first taker under cProfile.

cProfile sees the event loop's thread alone; hashing and writing are done in others. It makes everything slower, so
its shares count, not its seconds.
"""

import pstats
import sys
from pathlib import Path
from typing import Final

TOP: Final = 25
NAMES: Final = {0: "the seed's agent", 1: "the first taker's agent"}


def show(folder: Path) -> None:
    """Print the functions that took most time of their own, for each profile in the folder."""
    for node, name in NAMES.items():
        path = folder / f"node{node}.profile"
        print(f"\n{name}, by own time:", flush=True)
        if not path.exists() or not path.stat().st_size:
            print("  it left no profile")
            continue
        stats = pstats.Stats(str(path), stream=sys.stdout)
        stats.strip_dirs().sort_stats("tottime").print_stats(TOP)
