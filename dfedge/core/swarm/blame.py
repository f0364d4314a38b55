"""Who sent bytes that do not match: three different pieces within ten minutes ban an id, each time for longer."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from dfedge.core.seams import ImageId, NodeId

STRIKES: Final = 3  # one is a bad disk or bad memory on the way, three are a habit
WITHIN_S: Final = 600.0
FIRST_BAN_S: Final = 3600.0
LONGEST_BAN_S: Final = 7 * 86400.0
MAX_IDS: Final = 4096  # as many as the roster holds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a spoiled piece. `strikes` counts the distinct pieces that still count."""

    banned: bool
    until: float  # monotonic seconds; 0.0 when not banned
    strikes: int
    reason: str


@dataclass(slots=True)
class _Sheet:
    strikes: dict[tuple[ImageId, int], float] = field(default_factory=dict)
    bans: int = 0
    until: float = 0.0


class Blame:
    """The node's memory of who spoiled pieces, over all images. Bounded: the longest quiet id is forgotten first."""

    def __init__(self) -> None:
        self._sheets: OrderedDict[NodeId, _Sheet] = OrderedDict()

    def spoiled(self, node: NodeId, image: ImageId, piece: int, now: float) -> Verdict:
        """Note a piece that did not match its digest, and judge. The same piece twice is one strike."""
        sheet = self._sheets.setdefault(node, _Sheet())
        self._sheets.move_to_end(node)
        sheet.strikes = {key: at for key, at in sheet.strikes.items() if now - at <= WITHIN_S}
        sheet.strikes[image, piece] = now
        strikes = len(sheet.strikes)
        if strikes >= STRIKES:
            length = min(LONGEST_BAN_S, FIRST_BAN_S * 2.0 ** min(sheet.bans, 16))
            sheet.bans += 1
            sheet.until = max(sheet.until, now + length)
            sheet.strikes.clear()
        self._bound(now)
        banned = now < sheet.until
        reason = f"{strikes} different pieces in {WITHIN_S / 60:.0f} min did not match their digests"
        return Verdict(banned, sheet.until if banned else 0.0, strikes, reason)

    def banned_until(self, node: NodeId, now: float) -> float | None:
        """When the ban of a node ends, in monotonic seconds; None when it is not banned."""
        sheet = self._sheets.get(node)
        return sheet.until if sheet is not None and now < sheet.until else None

    def __len__(self) -> int:
        return len(self._sheets)

    def _bound(self, now: float) -> None:
        while len(self._sheets) > MAX_IDS:
            free = (node for node, sheet in self._sheets.items() if sheet.until <= now)
            self._sheets.pop(next(free, next(iter(self._sheets))))
