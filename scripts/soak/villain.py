"""A malformed neighbour, run in the namespace of whom it annoys: `villain.py VICTIM_STATE OWN_STATE SEED`."""

import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from faults.malformed import frames
from hostile.evil import evil_to

from dfedge.core.errors import DfedgeError

FRAMES = 200
PATIENCE_S = 30.0  # the victim may be stopped or cut off
PORT = 7411


@dataclass(frozen=True, slots=True)
class Home:
    """What it has to know of a node: where its state is."""

    state: Path
    port: int = PORT

    @property
    def name(self) -> str:
        return self.state.name


async def annoy(victim: Home, own: Home, seed: int) -> None:
    """Throw frames, a session after another, until it is not let in any more."""
    thrown = frames(random.Random(seed), FRAMES)
    with suppress(DfedgeError, AssertionError, TimeoutError):  # it is refused, as it should be
        with anyio.move_on_after(PATIENCE_S):
            await _sessions(victim, own, thrown)


async def _sessions(victim: Home, own: Home, thrown: Iterator[bytes]) -> None:
    while True:
        async with evil_to(victim, own) as evil:
            while not evil.closed.is_set():
                data = next(thrown, None)
                if data is None:
                    return
                evil.raw(data)
                await anyio.sleep(0.02)


if __name__ == "__main__":
    anyio.run(annoy, Home(Path(sys.argv[1])), Home(Path(sys.argv[2])), int(sys.argv[3]))
