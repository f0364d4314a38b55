"""A process to be killed: fetches an image of noise into a state folder, and says what it has made durable.

python killed_agent.py STATE PIECES ORDER_SEED [finish]
"""

import random
import sys
from pathlib import Path

import anyio

from dfedge.store.store import Store

from .firmware import PIECE, firmware, noise

WINDOW = 8  # pieces between two flushes


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(state: Path, pieces: int, seed: int, *, finish: bool) -> None:
    store = Store.open(state, None, 0, lambda: 1_700_000_000.0)
    fw = firmware({"fw.bin": noise(pieces * PIECE)})
    partial = await fw.begin(store)
    say("resumed", len(partial.holds))
    order = list(range(pieces))
    random.Random(seed).shuffle(order)
    put: list[int] = []
    for piece in order:
        if piece not in partial.holds:
            await partial.put(piece, fw.blocks(piece))
            put.append(piece)
        if len(put) == WINDOW:
            await partial.flush()
            say("durable", *put)
            put.clear()
    if finish:
        say("finishing")
        await partial.finish()
        say("finished")
    sys.stdin.read()


if __name__ == "__main__":
    anyio.run(lambda: main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), finish=sys.argv[4:] == ["finish"]))
