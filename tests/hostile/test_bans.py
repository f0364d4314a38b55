"""What a user loses if one fails: whoever sends rubbish is let in again each time the board is started."""

import random
import signal
from pathlib import Path

import anyio
from faults.malformed import Thrower
from fleet import Fleet, until


def test_who_is_banned_stays_so_when_the_node_is_killed_and_started_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        victim = fleet.board("victim").start()
        anyio.run(Thrower(fleet).throw, random.Random(1), 200, 20)
        banned = _banned(victim.ask("peers")["peers"])
        assert banned
        kept = victim.state / "trust" / "bans"
        until(
            lambda: kept.exists() and all(str(node).encode() in kept.read_bytes() for node in banned), "it to be kept"
        )
        victim.stop(signal.SIGKILL)
        victim.start()
        assert _banned(victim.ask("peers")["peers"]) == banned
    finally:
        fleet.stop()


def _banned(rows: list[dict[str, object]]) -> set[object]:
    return {row["id"] for row in rows if row["state"] == "banned"}
