"""Why a download is not faster: what each missing piece waits for, in words for people."""

from collections.abc import Mapping

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm.bits import either, how_many, without
from dfedge.core.swarm.peer import Peer


def held_back(
    holds: PieceMap, peers: Mapping[NodeId, Peer], askers: Mapping[int, list[Peer]], now: float
) -> list[tuple[str, float]]:
    """The reasons, the heaviest first, each with its share of the missing pieces (0.0 to 1.0)."""
    if holds.complete:
        return []
    missing = holds.count - len(holds)
    reasons: list[tuple[str, float]] = []
    owed: dict[NodeId, int] = {}
    for piece, owing in askers.items():
        if piece not in holds and owing:
            owed[owing[-1].id] = owed.get(owing[-1].id, 0) + 1
    for peer, pieces in owed.items():
        silent = now - peers[peer].last_byte
        since = f", which sent nothing for {silent:.0f} s" if silent >= 1 else ""
        reasons.append((f"waiting for {pieces} pieces from {peer}{since}", pieces / missing))
    open_bits = closed_bits = bytes(len(holds.encode()))
    choking = [each for each in peers.values() if each.choked_by]
    for each in peers.values():
        if each.choked_by:
            closed_bits = either(closed_bits, each.shown.encode())
        else:
            open_bits = either(open_bits, each.shown.encode())
    closed = how_many(without(without(closed_bits, open_bits), holds.encode()))
    if closed:
        who = f"all {len(peers)} peers choke us" if len(choking) == len(peers) else f"{len(choking)} peers choke us"
        reasons.append((who, closed / missing))
    hidden = missing - how_many(without(either(closed_bits, open_bits), holds.encode()))
    if hidden:
        why = "no peer shows them" if peers else "no peer is in the swarm"
        seeds = sum(peer.complete and not peer.shown.complete for peer in peers.values())
        if seeds:
            who = "the seed gives" if seeds == 1 else f"{seeds} seeds give"
            why = f"not yet in circulation; {who} each to one node first"
        reasons.append((f"{hidden} missing pieces: {why}", hidden / missing))
    rest = missing - sum(owed.values()) - closed - hidden
    if rest > 0:
        reasons.append((f"{rest} missing pieces are next in line at the peers that show them", rest / missing))
    return sorted(reasons, key=lambda each: -each[1])
