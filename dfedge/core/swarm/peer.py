"""What a node knows of one peer in one swarm."""

from dataclasses import dataclass, field

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId


@dataclass(slots=True)
class Request:
    """A piece asked of one peer."""

    size: int  # bytes
    asked_at: float
    probe: bool  # asked of a snubbed peer: the piece stays wanted
    counted: bool = True  # among the pieces outstanding in all
    received: int = 0  # bytes

    @property
    def owed(self) -> int:
        """Bytes still to come."""
        return max(0, self.size - self.received)


@dataclass(slots=True)
class Peer:
    """One peer; times are monotonic seconds, sizes bytes."""

    id: NodeId
    shown: PieceMap  # what it shows us
    complete: bool  # it holds everything, shown or not
    everywhere: bool = False  # counted in Rarity.everywhere
    steers: bool = False  # it came as a seed that shows us a part at a time
    choked_by: bool = True  # it does not serve us
    snubbed: bool = False
    served: bool = False  # we serve it
    asked: dict[int, Request] = field(default_factory=dict)
    owing: int = 0  # pieces of `asked` with bytes still to come
    spoilt: set[int] = field(default_factory=set)  # pieces it sent wrong; never asked of it again
    refused: set[int] = field(default_factory=set)  # pieces it would not send when asked; not in `shown`
    service_s: float = 0.0  # its usual time from asking to proof; 0.0 before the first
    last_byte: float = 0.0  # or when it began to owe
    probe_at: float = 0.0
    probe_wait: float = 0.0
    bytes_down: int = 0
    bytes_wasted: int = 0  # of bytes_down: for pieces that were dropped or did not match
    ready: list[int] = field(default_factory=list)  # heap of pieces to ask it for, packed by Picker
    more: bool = False  # it may show wanted pieces that `ready` lacks

    @property
    def outstanding(self) -> int:
        """Pieces asked of it that are not here yet."""
        return self.owing

    @property
    def outstanding_bytes(self) -> int:
        """Bytes asked of it that are not here yet."""
        return sum(request.owed for request in self.asked.values())
