"""Which of the nodes we know are to be our neighbours: most of them near, a share of others, and some drawn by lot.

A fleet is larger than the sessions of one node. Near neighbours keep pieces on the link that is fast; those drawn by
lot, and slowly exchanged, keep the fleet in one piece and every node a few steps from every other (Watts and Strogatz,
Nature 393, 1998). Pure: it decides, `jobs.connect` dials and parts.
"""

import ipaddress
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dfedge.core.seams import NodeId
from dfedge.discovery.roster import Candidate, Roster

NEIGHBOURS: Final = 20  # sessions we dial for; up to 24 are accepted, so that newcomers find room
FAR: Final = 4  # of them kept for nodes off our link, while any are known: else a site is cut off by its own size
DRAWN: Final = 6  # of them drawn by lot from all that are known, near or far
REWIRE_S: Final = 600.0  # seconds between two exchanges of a neighbour; each is two handshakes
REST_S: Final = 60.0  # seconds in which a parted neighbour is not dialled, and its place is taken by another

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IsNear = Callable[[str], bool]
Links = Mapping[NodeId, str]  # connected nodes, and the address of each


class Want(Enum):
    """Whom the next place is for."""

    NEAR = "near"
    FAR = "far"
    DRAWN = "drawn"


@dataclass(slots=True)
class Mix:
    """How the places are taken; one that was drawn counts as near or far too."""

    near: int = 0
    far: int = 0
    drawn: int = 0

    @property
    def taken(self) -> int:
        return self.near + self.far

    @property
    def want(self) -> Want:
        """What is rarer among those we have than it is to be among all."""
        if self.drawn * NEIGHBOURS < DRAWN * self.taken:
            return Want.DRAWN
        if self.far * NEIGHBOURS < FAR * self.taken:
            return Want.FAR
        return Want.NEAR

    def add(self, *, is_near: bool, is_drawn: bool) -> None:
        if is_near:
            self.near += 1
        else:
            self.far += 1
        self.drawn += is_drawn


class Neighbourhood:
    """Chooses from a roster. `links` are the sessions that stand, `under_way` the dials that do not yet."""

    def __init__(self, roster: Roster, rng: random.Random) -> None:
        self._roster = roster
        self._rng = rng
        self._drawn: dict[NodeId, None] = {}  # the longest ago first

    def room(self, links: Collection[NodeId], under_way: Collection[Candidate]) -> int:
        """How many more we want."""
        return max(0, NEIGHBOURS - len(links) - len(under_way))

    def dials(
        self, now: float, links: Links, under_way: Sequence[Candidate], most: int, is_near: IsNear
    ) -> list[Candidate]:
        """Whom to dial now, `most` of them: in the order near, far, drawn as the mix of those we have lacks them."""
        self._forget(links, under_way)
        mix = Mix()
        for node, host in links.items():
            mix.add(is_near=is_near(host), is_drawn=node in self._drawn)
        for candidate in under_way:
            mix.add(is_near=is_near(candidate.host), is_drawn=candidate.id in self._drawn)
        chosen: list[Candidate] = []
        wanted = min(most, self.room(links, under_way))
        if wanted <= 0:
            return chosen
        offer = self._roster.offer(now, links.keys(), is_near)
        while len(chosen) < wanted:
            want = mix.want
            found = offer.take(by_lot=want is Want.DRAWN, far=want is Want.FAR)
            if found is None:
                break
            chosen.append(found)
            is_drawn = want is Want.DRAWN
            if is_drawn and found.id is not None:
                self._drawn[found.id] = None
            mix.add(is_near=is_near(found.host), is_drawn=is_drawn)
        return chosen

    def leaver(self, now: float, links: Links, is_near: IsNear) -> NodeId | None:
        """Whom to part with so that another takes the place; call it once per `REWIRE_S`, when nothing moves.

        Nobody while there is room, or nobody else to have. One too many from off the link goes first if a near node
        waits, then whoever was drawn longest ago, then anybody by lot.
        """
        waiting = self._roster.waiting(now, links.keys())
        if len(links) < NEIGHBOURS or not waiting:
            return None
        far = [node for node, host in links.items() if not is_near(host)]
        if len(far) > FAR and any(map(is_near, waiting)):
            return self._rng.choice(far)
        drawn = [node for node in self._drawn if node in links]
        if len(drawn) >= DRAWN:
            return drawn[0]
        return self._rng.choice([node for node in links if node not in self._drawn] or list(links))

    def _forget(self, links: Links, under_way: Sequence[Candidate]) -> None:
        kept = links.keys() | {candidate.id for candidate in under_way}
        self._drawn = {node: None for node in self._drawn if node in kept}


def on_link(host: str, networks: Collection[Network]) -> bool:
    """Whether an address is reached without a router: link-local, or of a network that we are on."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_link_local or address.is_loopback:
        return True
    return any(address.version == network.version and address in network for network in networks)
