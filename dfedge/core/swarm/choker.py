"""Whom we serve: everybody interested, while they fit; beyond that the least served take turns."""

from random import Random

from dfedge.core.seams import NodeId
from dfedge.core.swarm.event import Action, Refuse, Serve
from dfedge.core.swarm.peer import Peer
from dfedge.core.swarm.policy import Policy


class Choker:
    """Upload slots as a cap on memory. A peer is interested while it is incomplete."""

    def __init__(self, peers: dict[NodeId, Peer], rng: Random, policy: Policy) -> None:
        self._peers, self._rng, self._policy = peers, rng, policy
        self._turns: dict[NodeId, int] = {}  # rotations in which a peer was served
        self._rotated_at = 0.0

    def joined(self, peer: Peer, out: list[Action]) -> None:
        """Serve a newcomer at once if there is room."""
        self._turns[peer.id] = min(self._turns.values(), default=0)
        self.settle(out)

    def left(self, peer: Peer, out: list[Action]) -> None:
        """A slot may be free."""
        self._turns.pop(peer.id, None)
        self.settle(out)

    def settle(self, out: list[Action]) -> None:
        """Take slots from peers that are complete, give free ones away."""
        served = 0
        waiting = []
        for peer in self._peers.values():
            if peer.complete:
                self._refuse(peer, "it is complete", out)
            elif peer.served:
                served += 1
            else:
                waiting.append(peer)
        if waiting and served < self._policy.slots:
            for peer in self._by_turn(waiting)[: self._policy.slots - served]:
                self._serve(peer, out)

    def tick(self, now: float, out: list[Action]) -> None:
        """Rotate when not all fit."""
        if now - self._rotated_at < self._policy.rotate_s:
            return
        self._rotated_at = now
        interested = [peer for peer in self._peers.values() if not peer.complete]
        for peer in interested:
            if peer.served:
                self._turns[peer.id] += 1
        if len(interested) <= self._policy.slots:
            return
        chosen = self._by_turn(interested)[: self._policy.slots]
        ids = {peer.id for peer in chosen}
        for peer in interested:
            if peer.id not in ids:
                self._refuse(peer, f"{len(interested)} peers take turns at {self._policy.slots} slots", out)
        for peer in chosen:
            self._serve(peer, out)

    def _by_turn(self, peers: list[Peer]) -> list[Peer]:
        return sorted(peers, key=lambda peer: (self._turns[peer.id], self._rng.random()))

    def _serve(self, peer: Peer, out: list[Action]) -> None:
        if not peer.served:
            peer.served = True
            out.append(Serve(peer.id))

    def _refuse(self, peer: Peer, reason: str, out: list[Action]) -> None:
        if peer.served:
            peer.served = False
            out.append(Refuse(peer.id, reason))
