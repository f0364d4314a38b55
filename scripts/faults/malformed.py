"""Ten thousand malformed frames from an authenticated neighbour."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
from fleet import Board, Fleet, until
from hostile.evil import evil_to

from dfedge.core.swarm.blame import STRIKES
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from faults.row import MIB, Row, resident

COUNT = 10_000
BURST = 20  # thrown at once; what stands behind the frame that ends a session must do no harm either


def frames(rng: random.Random, count: int) -> Iterator[bytes]:
    """Well-formed frames with up to four bytes changed, cut off or put in."""
    good = [
        codec.frame(m.Catalogue((m.Entry(b"i" * 32, "n", "1", 1, 5, 5),))),
        codec.frame(m.Join(1, b"i" * 32, False, b"\x00" * 8)),
        codec.frame(m.Have(1, False, (1, 2, 3))),
        codec.frame(m.AskManifest(b"i" * 32, 0)),
        codec.frame(m.Seek(b"q" * 8, 2, "n", "1", "")),
        codec.frame(m.Contacts((m.Contact(b"r", "10.0.0.1", 7411),))),
        codec.frame(m.Ping(5)),
        codec.frame(m.Dropped((b"i" * 32,))),
    ]
    for _ in range(count):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            match rng.randrange(3):
                case 0:
                    data[rng.randrange(len(data))] = rng.getrandbits(8)
                case 1:
                    del data[rng.randrange(len(data)) :]
                    data += bytes(rng.randrange(3))
                case _:
                    data[rng.randrange(len(data) + 1) : 0] = rng.randbytes(rng.randrange(8))
            if not data:
                data = bytearray(b"\x00")
        body = bytes(data[codec.PREFIX :])
        # A wrong length makes what follows part of one long message, so it is rare here, and each other frame is read.
        yield bytes(data) if rng.random() < 0.001 else len(body).to_bytes(codec.PREFIX, "big") + body


def measure(folder: Path) -> Row:
    """Throw them, each session as long as it lasts, and go on with a new identity when one is banned."""
    fleet = Fleet(folder)
    try:
        return anyio.run(_measure, fleet)
    finally:
        fleet.stop()


async def _measure(fleet: Fleet) -> Row:
    seed, good = fleet.board("seed"), fleet.board("good")
    seed.start()
    good.start()
    thrower = Thrower(fleet)
    await thrower.throw(random.Random(1), 1000, BURST)  # what a node needs for peers and messages at all
    assert seed.process is not None
    before = resident(seed.process.pid)
    sessions, banned = thrower.sessions, thrower.banned
    await thrower.throw(random.Random(7), COUNT, BURST)
    grown = resident(seed.process.pid) - before
    sessions, banned = thrower.sessions - sessions, thrower.banned - banned
    until(lambda: "good" in seed.connected(), "the good neighbour to be connected")
    crashes = seed.said.count("Traceback")
    return Row(
        f"{COUNT:,} mutated frames on authenticated sessions, {BURST} at once, a new identity each time one is banned",
        "0 crashes, RSS +< 5 MiB, each identity banned after 3 sessions that its frames ended",
        f"{crashes} crashes, RSS {grown / MIB:+.1f} MiB, {sessions:,} sessions ended, {banned:,} identities banned,"
        f" {thrower.early} before the third",
        crashes == 0 and grown < 5 * MIB and thrower.early == 0 and banned >= sessions // STRIKES - 1,
    )


class Thrower:
    """Throws frames at the first board of a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.sessions = 0  # that ended by a frame
        self.banned = 0  # identities
        self.early = 0  # of them, before their third mistake

    async def throw(self, rng: random.Random, count: int, burst: int = 1) -> None:
        """So many, in bursts, under identities of which each is used until it is banned."""
        thrown = frames(rng, count)
        left = True
        while left:
            own = self.fleet.board(f"thrower-{len(self.fleet.boards)}")
            for session in range(STRIKES):
                async with evil_to(self.fleet.boards[0], own) as evil:
                    while left and not evil.closed.is_set():
                        data = b"".join(itertools.islice(thrown, burst))
                        left = bool(data)
                        evil.raw(data)
                        await anyio.sleep(0.005)  # a turn for the answer
                    said = await evil.thrown_out() if left else ""
                    self.early += "banned" in said
                    self.sessions += left
                if not left:
                    return
                if session == STRIKES - 1:
                    self.banned += await self._is_banned(own)

    async def _is_banned(self, own: Board) -> bool:
        async with evil_to(self.fleet.boards[0], own) as evil:
            with anyio.move_on_after(5):
                return "banned for" in await evil.thrown_out()
        return False
