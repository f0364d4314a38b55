"""What the demonstration shows: a table that moves on a terminal, else a line now and then; and the final tables."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from demo_run.download import Download

BAR: Final = 32  # columns
LOOK_S: Final = 0.05  # between two looks at what the downloads say
LINE_S: Final = 2.0  # between two lines where there is no terminal

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


def say(text: str = "") -> None:
    """Print a line of the story."""
    console.print(text, markup=False)


def mib(nbytes: float) -> str:
    return f"{nbytes / 2**20:.1f} MiB"


def watch(downloads: Sequence[Download], until: Callable[[], bool], seconds: float) -> bool:
    """Show how the downloads go until `until` holds; false if it did not within that time."""
    deadline = time.monotonic() + seconds
    if console.is_terminal:
        with Live(console=console, refresh_per_second=5, transient=True, get_renderable=lambda: _picture(downloads)):
            return _await(until, deadline)
    next_line = time.monotonic()
    while time.monotonic() < deadline:
        if until():
            return True
        if time.monotonic() >= next_line:
            shares = "  ".join(f"{one.member.name} {one.share:4.0%}" for one in downloads)
            say(f"  {shares}   {_mbit(sum(one.rate for one in downloads if one.running))} in all")
            next_line += LINE_S
        time.sleep(LOOK_S)
    return until()


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    """Print a table; the columns `right` are numbers."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, title in enumerate(header):
        shown.add_column(title, justify="right" if index in right else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def _await(until: Callable[[], bool], deadline: float) -> bool:
    while time.monotonic() < deadline:
        if until():
            return True
        time.sleep(LOOK_S)
    return until()


def _picture(downloads: Sequence[Download]) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, width in (("NODE", 8), ("", BAR), ("DONE", 4), ("RATE", 11), ("FROM", 8)):
        shown.add_column(title, no_wrap=True, min_width=width)
    room = console.width - BAR - 42
    if room > 0:
        shown.add_column("HELD BACK BY", no_wrap=True)
    for one in downloads:
        bar = ProgressBar(total=max(one.total, 1), completed=one.done, width=BAR)
        ended = "done" if one.result.get("ok") else "ended"
        why = one.held_back if len(one.held_back) <= room else f"{one.held_back[: max(room - 1, 0)]}…"
        state = (f"{one.peers} peers", why) if one.running else (ended, "")
        cells = (one.member.name, bar, f"{one.share:4.0%}", _mbit(one.rate if one.running else 0), *state)
        shown.add_row(*(cells if room > 0 else cells[:-1]))
    return shown


def _mbit(rate: float) -> str:
    return f"{rate * 8 / 1e6:4.0f} Mbit/s"
