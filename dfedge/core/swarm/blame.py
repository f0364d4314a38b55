"""Who sent bytes that do not match, or what no node says: three of either within ten minutes ban an id, each time for
longer. Slowness, silence and lost connections are no faults here: the path may be to blame. Good pieces make up for a
bad one: a card that dies is no liar.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dfedge.core.seams import ImageId, NodeId

STRIKES: Final = 3  # one is a bad disk or bad memory on the way, three are a habit
WITHIN_S: Final = 600.0
WORKED_OFF: Final = 32  # good pieces that make up for a bad one: who gives so many costs us 3 %
FIRST_BAN_S: Final = 3600.0
LONGEST_BAN_S: Final = 7 * 86400.0
MAX_IDS: Final = 4096  # as many as the roster holds
MAX_COMPLAINTS: Final = 8  # of one neighbour in ten minutes that we look into; each costs us the reading of a piece


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a fault. `strikes` counts those of its kind that still count."""

    banned: bool
    until: float  # monotonic seconds; 0.0 when not banned
    strikes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ban:
    """A node that we do not speak with. `until` is in monotonic seconds."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A ban as it is kept over a restart: how long it lasts from now, and the how manyth of that node it is."""

    node: NodeId
    seconds: float
    times: int
    reason: str


@dataclass(slots=True)
class _Sheet:
    spoilt: dict[tuple[ImageId, int], float] = field(default_factory=dict)
    good: int = 0  # pieces that matched since the last that did not, or that one was worked off
    mistakes: list[float] = field(default_factory=list)
    complaints: list[float] = field(default_factory=list)
    bans: int = 0
    ban: Ban | None = None


class Blame:
    """The node's memory of who is at fault, over all images. Bounded: the longest quiet id is forgotten first."""

    def __init__(self) -> None:
        self._sheets: OrderedDict[NodeId, _Sheet] = OrderedDict()

    def spoiled(self, node: NodeId, image: ImageId, piece: int, now: float) -> Verdict:
        """Note a piece that did not match its digest, and judge. The same piece twice is one strike."""
        sheet = self._sheet(node, now)
        sheet.spoilt = {key: at for key, at in sheet.spoilt.items() if now - at <= WITHIN_S}
        sheet.spoilt[image, piece] = now
        sheet.good = 0
        strikes = len(sheet.spoilt)
        reason = f"{strikes} different pieces in {WITHIN_S / 60:.0f} min did not match their digests"
        return self._judge(sheet, strikes, reason, now)

    def proven(self, node: NodeId) -> None:
        """Note a piece that was asked for, came and matched."""
        sheet = self._sheets.get(node)
        if sheet is None or not sheet.spoilt:
            return
        sheet.good += 1
        if sheet.good >= WORKED_OFF:
            sheet.good = 0
            del sheet.spoilt[next(iter(sheet.spoilt))]

    def mistaken(self, node: NodeId, what: str, now: float) -> Verdict:
        """Note that a session ended because the node said `what` no node says, and judge."""
        sheet = self._sheet(node, now)
        sheet.mistakes = [*(at for at in sheet.mistakes if now - at <= WITHIN_S), now]
        strikes = len(sheet.mistakes)
        reason = f"{strikes} sessions in {WITHIN_S / 60:.0f} min ended by its mistakes, the last: {what[:200]}"
        return self._judge(sheet, strikes, reason, now)

    def heeds(self, node: NodeId, now: float) -> bool:
        """Whether to look into a complaint of that node about a piece of ours; it counts as one."""
        sheet = self._sheet(node, now)
        sheet.complaints = [at for at in sheet.complaints if now - at <= WITHIN_S]
        if len(sheet.complaints) >= MAX_COMPLAINTS:
            return False
        sheet.complaints.append(now)
        return True

    def ban(self, node: NodeId, now: float) -> Ban | None:
        """The ban that a node is under now, if it is."""
        sheet = self._sheets.get(node)
        return sheet.ban if sheet is not None and sheet.ban is not None and now < sheet.ban.until else None

    def banned(self, now: float) -> dict[NodeId, Ban]:
        """All that are banned now."""
        sheets = self._sheets.items()
        return {node: sheet.ban for node, sheet in sheets if sheet.ban is not None and now < sheet.ban.until}

    def standing(self, now: float) -> list[Standing]:
        """All bans that hold now, to be kept."""
        return [
            Standing(node, ban.until - now, self._sheets[node].bans, ban.reason)
            for node, ban in self.banned(now).items()
        ]

    def restore(self, bans: Iterable[Standing], now: float) -> None:
        """Take up the bans of an earlier run; none is longer than we would have made it."""
        for ban in bans:
            sheet = self._sheet(ban.node, now)
            sheet.bans = ban.times
            sheet.ban = Ban(now + min(ban.seconds, LONGEST_BAN_S), ban.reason)

    def __len__(self) -> int:
        return len(self._sheets)

    def _judge(self, sheet: _Sheet, strikes: int, reason: str, now: float) -> Verdict:
        if strikes >= STRIKES:
            length = min(LONGEST_BAN_S, FIRST_BAN_S * 2.0 ** min(sheet.bans, 16))
            until = max(sheet.ban.until if sheet.ban else 0.0, now + length)
            sheet.bans += 1
            sheet.ban = Ban(until, reason)
            sheet.spoilt.clear()
            sheet.mistakes.clear()
        banned = sheet.ban is not None and now < sheet.ban.until
        return Verdict(banned, sheet.ban.until if sheet.ban and banned else 0.0, strikes, reason)

    def _sheet(self, node: NodeId, now: float) -> _Sheet:
        sheet = self._sheets.setdefault(node, _Sheet())
        self._sheets.move_to_end(node)
        while len(self._sheets) > MAX_IDS:
            free = (other for other, held in self._sheets.items() if held.ban is None or held.ban.until <= now)
            self._sheets.pop(next(free, next(iter(self._sheets))))
        return sheet
