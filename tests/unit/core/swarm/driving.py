"""Driving one swarm by hand: what the tests of a node's decisions share."""

from random import Random

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm

PIECE = 128 * 1024
A, B, C, D = (NodeId(name) for name in "abcd")


def swarm(pieces: int = 16, held: tuple[int, ...] = (), piece: int = PIECE, policy: Policy | None = None) -> Swarm:
    return Swarm(pieces, lambda _: piece, PieceMap(pieces, held), Random(1), policy or Policy())


def seed(pieces: int = 16) -> Swarm:
    return swarm(pieces, tuple(range(pieces)))


def join(
    node: Swarm, peer: NodeId, shows: tuple[int, ...] = (), complete: bool = False, opens: bool = True, now: float = 0.0
) -> list[e.Action]:
    out = node.handle(e.Joined(peer, PieceMap(node.holds.count, shows), complete), now)
    return out + (node.handle(e.Unchoked(peer), now) if opens else [])


def asks(actions: list[e.Action], peer: NodeId | None = None) -> list[int]:
    return [a.piece for a in actions if isinstance(a, e.Ask) and peer in {None, a.peer}]


def shows(actions: list[e.Action], peer: NodeId) -> list[int]:
    return [piece for a in actions if isinstance(a, e.Show) and a.peer == peer for piece in a.pieces]


def deliver(node: Swarm, peer: NodeId, piece: int, now: float) -> list[e.Action]:
    out = node.handle(e.Received(peer, piece, PIECE), now)
    return out + node.handle(e.Proven(piece, peer), now)
