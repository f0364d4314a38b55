"""Where is an image: what our neighbours hold, and what they have heard of others."""

from typing import Final

import anyio

from dfedge.core.image.name import Ref
from dfedge.core.seams import Clock
from dfedge.transfer.gossip import Gossip, Holding

WITHIN: Final = 2.0  # seconds for answers, unless the user says otherwise
QUIET: Final = 0.5  # seconds without news after which the answers are taken for complete; a LAN answers in a tenth


async def locate(ref: Ref, within: float, gossip: Gossip, clock: Clock, *, known: bool) -> list[Holding]:
    """Ask neighbours, and theirs, who holds an image; returns what was answered in `within` seconds.

    It ends sooner when somebody holds it (`known`: a neighbour does) and nothing new was heard for half a second:
    there is no last answer. Nodes further than three steps away are not reached.
    """
    end = clock() + within
    with gossip.asking(ref) as answers:
        while (left := end - clock()) > 0:
            pause = min(QUIET, left) if known or answers.holdings else left
            with anyio.move_on_after(pause) as scope:
                await answers.changed()
            if scope.cancelled_caught:
                break
        return list(answers.holdings.values())
