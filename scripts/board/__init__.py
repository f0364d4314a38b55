"""One node on the lab's LAN and its command line, as the demonstration and the benchmarks use it."""

from board.member import DFEDGE, Member
from board.promise import Broken, promise

__all__ = ["DFEDGE", "Broken", "Member", "promise"]
