"""Telling peers what we hold: pieces gather for a while, so that many are shown in one message."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dfedge.core.seams import Clock, NodeId

AT_ONCE: Final = 0.010  # seconds; pieces proven within it are shown in one message


@dataclass(slots=True)
class _Gathered:
    """Pieces that wait to be shown to one peer."""

    due: float  # monotonic seconds
    pieces: list[int] = field(default_factory=list)


class News:
    """Gathers for each peer; `tell` is called with what is due, and what else has gathered for that peer with it."""

    def __init__(self, tell: Callable[[NodeId, list[int]], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._gathered: dict[NodeId, _Gathered] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def add(self, peer: NodeId, pieces: Sequence[int], wait: float) -> None:
        """Show these to a peer in `wait` seconds at the latest."""
        due = self._clock() + wait
        gathered = self._gathered.get(peer)
        if gathered is None:
            gathered = self._gathered[peer] = _Gathered(due)
        gathered.due = min(due, gathered.due)
        gathered.pieces.extend(pieces)
        self._tell_by(gathered.due)

    def forget(self, peer: NodeId) -> None:
        """Show a peer nothing more of what has gathered."""
        self._gathered.pop(peer, None)

    def close(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell_by(self, due: float) -> None:
        if due >= self._timer_at:
            return
        self.close()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(due - self._clock(), self._tell_due)

    def _tell_due(self) -> None:
        self._timer, self._timer_at = None, math.inf
        soon = self._clock() + AT_ONCE / 2
        for peer in [peer for peer, gathered in self._gathered.items() if gathered.due <= soon]:
            self._tell(peer, self._gathered.pop(peer).pieces)
        if self._gathered:
            self._tell_by(min(gathered.due for gathered in self._gathered.values()))
