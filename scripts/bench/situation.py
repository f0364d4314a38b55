"""What may happen at node 0: who fetches, who serves, and who comes beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LINK: Final = 100.0  # Mbit/s
FLOW_AT: Final = 6.0  # seconds after the transfer has begun
FLOW_S: Final = 8.0
END: Final = 21.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What happens at node 0."""

    words: str
    ours: tuple[str, ...] = ()  # ways that dfedge uses
    flow: str = ""  # way of the other flow
    peers: int = 1
    cap_mbit: float | None = None
    slow_peer_mbit: float | None = None
    seconds: float = END


SITUATIONS: Final[Mapping[str, Situation]] = {
    "flow-down": Situation("a download alone, no dfedge", flow="down"),
    "flow-up": Situation("an upload alone, no dfedge", flow="up"),
    "down": Situation("dfedge fetches, nobody else", ("down",), seconds=12.0),
    "up": Situation("dfedge serves, nobody else", ("up",), seconds=12.0),
    "down-flow": Situation("dfedge fetches, then a download", ("down",), "down"),
    "up-flow": Situation("dfedge serves, then an upload", ("up",), "up"),
    "down-flow-4": Situation("dfedge fetches from 4, then a download", ("down",), "down", peers=4),
    "up-flow-4": Situation("dfedge serves 4, then an upload", ("up",), "up", peers=4),
    "both": Situation("dfedge fetches and serves, nobody else", ("down", "up"), seconds=14.0),
    "both-flow-down": Situation("dfedge fetches and serves, then a download", ("down", "up"), "down"),
    "both-flow-up": Situation("dfedge fetches and serves, then an upload", ("down", "up"), "up"),
    "cap-1-down": Situation("a cap of 1 Mbit/s, fetching", ("down",), cap_mbit=1, seconds=16.0),
    "cap-1-up": Situation("a cap of 1 Mbit/s, serving", ("up",), cap_mbit=1, seconds=16.0),
    "cap-10-down": Situation("a cap of 10 Mbit/s, fetching", ("down",), cap_mbit=10, seconds=16.0),
    "cap-10-up": Situation("a cap of 10 Mbit/s, serving", ("up",), cap_mbit=10, seconds=16.0),
    "cap-50-down": Situation("a cap of 50 Mbit/s, fetching", ("down",), cap_mbit=50, seconds=16.0),
    "cap-50-up": Situation("a cap of 50 Mbit/s, serving", ("up",), cap_mbit=50, seconds=16.0),
    "fair": Situation("dfedge serves 8, one behind 4 Mbit/s", ("up",), peers=8, slow_peer_mbit=4, seconds=14.0),
}
