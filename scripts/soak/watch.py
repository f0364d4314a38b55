"""What agents take while they run: memory, descriptors, tasks."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from faults.row import MIB, descriptors, resident
from fleet import Board

EVERY_S = 5.0


def agent_pid(board: Board) -> int:
    """The agent itself: what enters the namespace for it may be a process of its own."""
    assert board.process is not None
    pid = board.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else pid


def slope(rows: Sequence[tuple[float, int]]) -> float:
    """MiB an hour, of rows of seconds and bytes: Theil and Sen's median of the slopes of all pairs."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(rows)
        for later in rows[index + 1 :]
    ]
    return median(slopes) * 3600 / MIB if slopes else 0.0


class Watch:
    """Looks at the agents every 5 s. A `samples` row is seconds, bytes in memory, descriptors."""

    def __init__(self, boards: Sequence[Board]) -> None:
        self._boards = boards
        self._began = time.monotonic()
        self._over = threading.Event()
        self.samples: dict[str, list[tuple[float, int, int]]] = {board.name: [] for board in boards}
        self.rests: dict[str, list[tuple[float, int]]] = {}  # seconds, bytes in memory, when nothing moved
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            for board in self._boards:
                with suppress(OSError, IndexError, AssertionError):  # it was killed just now
                    pid = agent_pid(board)
                    row = (time.monotonic() - self._began, resident(pid), descriptors(pid))
                    self.samples[board.name].append(row)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def slope(self, name: str, after: float) -> float:
        """MiB an hour by which an agent grew since then."""
        return slope([(at, nbytes) for at, nbytes, _ in self.samples[name] if at >= after][:: max(1, self._thin(name))])

    def slope_at_rest(self, name: str, after: float) -> float:
        """The same of the moments in which nothing moved: what is on its way then is no part of it."""
        return slope([(at, nbytes) for at, nbytes in self.rests.get(name, ()) if at >= after])

    def rest(self, boards: Sequence[Board]) -> None:
        """Note what they take now; whoever calls sees to it that nothing moves."""
        for board in boards:
            row = (time.monotonic() - self._began, resident(agent_pid(board)))
            self.rests.setdefault(board.name, []).append(row)

    def sixths(self, name: str) -> list[float]:
        """MiB in memory, the median of each sixth of the run: a leak goes on, a warm-up does not."""
        rows = [nbytes / MIB for _, nbytes, _ in self.samples[name]]
        size = max(1, len(rows) // 6)
        return [median(rows[at : at + size]) for at in range(0, len(rows), size)][:6]

    def _thin(self, name: str) -> int:
        return len(self.samples[name]) // 300
