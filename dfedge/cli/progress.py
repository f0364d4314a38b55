"""How far a transfer is: a bar on a terminal, a line each 10 % in a log, one object a line with --json."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from dfedge.cli.field import image_label, number, rows, whole, word
from dfedge.cli.output import Output
from dfedge.core.units import line_rate, size

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_REDRAWS: Final = 5.0  # per second; `DFEDGE_PROGRESS_FPS` lowers it for a serial line
SHOWN_PEERS: Final = 4  # by name; the rest are counted
STEP: Final = 10  # percent between two lines of a log

Event = Mapping[str, object]


class Progress(Protocol):
    """Shown as the agent's events come in."""

    def update(self, event: Event) -> None:
        """Show one event: `start`, `manifest` or `progress`."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def progress_of(out: Output, verb: str, ref: str) -> Progress:
    """What fits where the output goes."""
    if out.json:
        return JsonLines(out)
    if out.quiet:
        return Silence()
    if out.terminal:
        return Bar(out, ref)
    return LogLines(out, verb, ref)


class Silence:
    """For --quiet."""

    def update(self, event: Event) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing is open."""


class JsonLines:
    """The agent's events as they are."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def update(self, event: Event) -> None:
        """Print it."""
        self._out.event(event)

    def close(self) -> None:
        """Nothing is open."""


class LogLines:
    """`get gateway:2.4.1 50 % rate=41Mbit/s peers=4 eta=4s`: at the start, each 10 % and the end."""

    def __init__(self, out: Output, verb: str, ref: str) -> None:
        self._out = out
        self._verb = verb
        self._label = ref
        self._said = 0  # percent
        self._started = False

    def update(self, event: Event) -> None:
        """Say it, if it is a step further than what was said last."""
        self._label = image_label(event) or self._label
        total, done, reused = (whole(event, key) for key in ("bytes_total", "bytes_done", "bytes_reused"))
        if not total:
            if event.get("type") == "start":
                self._say("looking for it")
            return
        if not self._started:
            self._started = True
            self._say(f"start bytes={total} reuse={reused} fetch={max(0, total - reused)}")
        step = 100 * done // total // STEP * STEP
        if step > self._said and event.get("type") == "progress":
            self._said = step
            self._say(f"{step} % {_facts(event)}")

    def _say(self, text: str) -> None:
        self._out.note(f"{self._verb} {self._label} {text}".rstrip())

    def close(self) -> None:
        """Nothing is open."""


class Bar:
    """rate, ETA, peers by share and what holds it back, redrawn at most 5 times a second."""

    def __init__(self, out: Output, ref: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._label = ref
        self._event: Event = {}
        console = Console(file=out.stderr, highlight=False)
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=_redraws(), transient=True)
        self._live.start()

    def update(self, event: Event) -> None:
        """Keep it for the next redraw."""
        self._label = image_label(event) or self._label
        self._event = event

    def close(self) -> None:
        """Take the bar away; the result says what became of it."""
        self._live.stop()

    def _draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        event = self._event
        total, done = whole(event, "bytes_total"), whole(event, "bytes_done")
        if not total:
            return Text(f"{self._label}  looking for it")
        line = Table.grid(padding=(0, 2), expand=True)
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_column(ratio=1)  # the bar takes what room there is
        rate = number(event, "rate")
        shown = line_rate(rate) if "peers" in event else f"{size(rate)}/s"  # a stick has no line
        facts = [f"{100 * done // total:3d} %", f"{size(done)} of {size(total)}", shown]
        if "eta" in event and event["eta"] is not None:
            facts.append(about(number(event, "eta")))
        for _ in facts:
            line.add_column(no_wrap=True)
        line.add_row(self._label, ProgressBar(total=total, completed=done), *facts)
        if "peers" not in event:
            return line
        return Group(line, Text("  " + _peers(event), no_wrap=True, overflow="ellipsis"))


def _redraws() -> float:
    try:
        wanted = float(os.environ.get("DFEDGE_PROGRESS_FPS", MAX_REDRAWS))
    except ValueError:
        wanted = MAX_REDRAWS
    return min(max(wanted, 0.1), MAX_REDRAWS)


def _facts(event: Event) -> str:
    rate = number(event, "rate")
    if "peers" in event:
        facts = [f"rate={line_rate(rate).replace(' ', '')}", f"peers={len(rows(event, 'peers'))}"]
    else:  # from or to a stick
        facts = [f"rate={size(rate).replace(' ', '')}/s"]
    if event.get("eta") is not None:
        facts.append(f"eta={number(event, 'eta'):.0f}s")
    if word(event, "held_back"):
        facts.append(f'held_back="{word(event, "held_back")}"')
    return " ".join(facts)


def _peers(event: Event) -> str:
    peers = sorted(rows(event, "peers"), key=lambda peer: -number(peer, "rate"))
    total = sum(number(peer, "rate") for peer in peers)
    shares = []
    for peer in peers[:SHOWN_PEERS]:
        name = word(peer, "name") or word(peer, "id")[:12]
        rate = number(peer, "rate")
        shares.append(
            f"{name} {100 * rate / total:.0f} %" if rate and total else f"{name} {word(peer, 'state')}".rstrip()
        )
    more = f"  and {len(peers) - SHOWN_PEERS} more" if len(peers) > SHOWN_PEERS else ""
    held = f"   held back by: {word(event, 'held_back')}" if word(event, "held_back") else ""
    return f"peers {len(peers)}: {'  '.join(shares) or 'none yet'}{more}{held}"


def about(seconds: float) -> str:
    """An ETA is never exact: `~40 s`, `~3 min`, `~2 h`."""
    if seconds < 90:
        return f"~{max(1, round(seconds)) if seconds < 10 else round(seconds, -1):.0f} s"
    return f"~{seconds / 60:.0f} min" if seconds < 5400 else f"~{seconds / 3600:.0f} h"
