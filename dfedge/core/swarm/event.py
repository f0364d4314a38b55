"""What happens to a swarm, and what it decides: the vocabulary between `Swarm` and the room that carries it out."""

from dataclasses import dataclass

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId


@dataclass(frozen=True, slots=True)
class Joined:
    """A peer joined; it shows `holds`. `complete` says that it holds every piece, shown or not."""

    peer: NodeId
    holds: PieceMap
    complete: bool


@dataclass(frozen=True, slots=True)
class Left:
    """A peer left, or its connection ended."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Shown:
    """A peer shows more pieces; `complete` as in Joined."""

    peer: NodeId
    pieces: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A peer found pieces spoilt on its disk and has them no more."""

    peer: NodeId
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choked:
    """A peer does not serve us; whatever we asked of it is forgotten there."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Unchoked:
    """A peer serves us."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Received:
    """A block of a piece we asked of `peer` arrived; nothing is proven yet."""

    peer: NodeId
    piece: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A peer will not send a piece that we asked for."""

    peer: NodeId
    piece: int


@dataclass(frozen=True, slots=True)
class Proven:
    """A piece from `peer` matched its digest and is stored."""

    piece: int
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A piece from `peer` did not match its digest and was dropped."""

    piece: int
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Lost:
    """A piece of our own turned out rotten on disk; it is missing again."""

    piece: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: deadlines, endgame, choking. The room sends one every `Policy.tick` seconds."""


Event = (
    Joined | Left | Shown | Withdrawn | Choked | Unchoked | Received | Rejected | Proven | Spoiled | Lost | Tick
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask `peer` for all blocks of a piece."""

    peer: NodeId
    piece: int
    reason: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Tell `peer` that we no longer want a piece from it."""

    peer: NodeId
    piece: int
    reason: str


@dataclass(frozen=True, slots=True)
class Show:
    """Tell `peer` that we hold these pieces."""

    peer: NodeId
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Serve:
    """Unchoke `peer`: it may ask us."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Refuse:
    """Choke `peer`: it may not ask us for now."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Snub:
    """`peer` owes us bytes and let its deadline pass; what it owed is asked elsewhere. For people to see."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Every piece is proven."""


Action = Ask | Drop | Show | Serve | Refuse | Snub | Finished
