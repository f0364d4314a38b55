"""Who is banned, on disk, so that a restart does not let them in again: `STATE/trust/bans`.

One canonical array of version, the time it was written and the bans, with a CRC-32 before it. Times are of the trust
clock; where that went back, the time of writing is taken for now.
"""

import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dfedge.core.canonical import pack, unpack
from dfedge.core.errors import DfedgeError
from dfedge.core.seams import NodeId
from dfedge.core.swarm.blame import Standing
from dfedge.trust import file

BANS: Final = "bans"
VERSION: Final = 1
MAX_KEPT: Final = 256  # bans, those that last longest
MAX_REASON: Final = 300  # characters
MAX_BYTES: Final = 512 * 1024
CRC_BYTES: Final = 4
log = logging.getLogger("dfedge.trust")


def write_bans(trust: Path, bans: Iterable[Standing], now: float) -> None:
    """Replace what is on disk. Raises NoSpace, Refused or Corrupt."""
    longest = sorted(bans, key=lambda ban: ban.seconds, reverse=True)[:MAX_KEPT]
    rows = tuple((ban.node, int(now + ban.seconds), ban.times, ban.reason[:MAX_REASON]) for ban in longest)
    body = pack((VERSION, int(now), rows))
    file.write(trust / BANS, zlib.crc32(body).to_bytes(CRC_BYTES, "big") + body, file.PRIVATE)


def read_bans(trust: Path, now: float) -> list[Standing]:
    """What is on disk and has not ended; nothing where the file is broken, as a node without its bans is still safe."""
    try:
        data = file.read_if_there(trust / BANS, MAX_BYTES)
        return [] if data is None else _parse(data, now)
    except (DfedgeError, ValueError) as error:
        log.warning("bans forgotten reason=%s", error)
        return []


def _parse(data: bytes, now: float) -> list[Standing]:
    body = data[CRC_BYTES:]
    if zlib.crc32(body).to_bytes(CRC_BYTES, "big") != data[:CRC_BYTES]:
        raise ValueError(f"{BANS}: its checksum does not match")
    match unpack(body, MAX_BYTES):
        case (1, int(written), tuple(rows)) if len(rows) <= MAX_KEPT:
            return [ban for row in rows if (ban := _ban(row, max(now, written))) is not None]
        case _:
            raise ValueError(f"{BANS}: not a list of bans")


def _ban(row: object, now: float) -> Standing | None:
    match row:
        case (str(node), int(until), int(times), str(reason)) if times >= 1:
            return Standing(NodeId(node), until - now, times, reason) if until > now else None
        case _:
            raise ValueError(f"{BANS}: not a ban")
