"""One of ten nodes is revoked while all fetch."""

import time
from pathlib import Path

from fleet import Fleet, until

from faults.row import MIB, Row, held_bytes, seeded

SIZE = 48 * MIB
NODES = 10
LIMIT_S = 30.0


def measure(folder: Path) -> Row:
    """Revoke the last of ten in mid-transfer, at the first, and watch what the others do with it."""
    fleet = Fleet(folder)
    try:
        return _measure(fleet, folder)
    finally:
        fleet.stop()


def _measure(fleet: Fleet, folder: Path) -> Row:
    boards = [fleet.board() for _ in range(NODES)]
    lost = boards[-1]
    for board in boards:
        board.settings["DFEDGE_THROTTLE_MAX_UP"] = "1 MB/s"
        board.start()
    seeded(boards[0], folder, SIZE)
    until(lambda: len(lost.connected()) == NODES - 1, "the one to be lost to be connected to all", 60)
    gets = [board.popen(["get", "image:1"], -3, -3) for board in boards[1:]]
    until(lambda: held_bytes(lost) > 2 * MIB, "it to have fetched a part", 60)
    assert boards[0].run("fleet", "revoke", lost.name).returncode == 0
    revoked = time.monotonic()
    held = held_bytes(lost)
    until(lambda: not lost.connected(), "its sessions to end", LIMIT_S)
    ended = time.monotonic() - revoked
    stopped = held_bytes(lost)
    time.sleep(10.0)  # nothing may come any more: that is what is measured here
    later = held_bytes(lost)
    others = [board.name for board in boards[:-1] if lost.name in board.connected()]
    degraded = str(lost.ask("status")["degraded"])
    for get in gets[:-1]:
        get.wait(240)
    whole = sum(get.returncode == 0 for get in gets[:-1])
    gets[-1].kill()
    return Row(
        "one of 10 nodes revoked in mid-transfer of 48 MiB",
        "served nothing more anywhere within 30 s, its sessions closed; `status` there says so; the others complete",
        f"all its sessions closed after {ended:.1f} s ({(stopped - held) / MIB:.1f} MiB came meanwhile), in the next"
        f" 10 s {later - stopped} bytes; its status: {degraded!r}; {whole} of {NODES - 2} others complete",
        later == stopped and not others and "revoked" in degraded and whole == NODES - 2,
    )
