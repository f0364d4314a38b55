"""A comparison as an SVG picture: four groups of bars, and how each node's copy grew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.scenario import Scenario
from bench.summary import Row, Spread, rows
from bench.trial import Trial

WIDTH: Final = 960
_HALF: Final = WIDTH // 2
_BAR: Final = 18
_STEP: Final = 26
_HEAD: Final = 34
_LABEL: Final = 84  # room for a system's name, left of its bar
_VALUE: Final = 128  # room for the number, right of it
_CURVE: Final = 182  # height of a curve panel
_COLOURS: Final = ("#0b6e99", "#c2571a", "#6a8d2f", "#8250a0", "#9a7d0a", "#7a7a7a", "#b03a5b", "#2f6f62")
_MEASURES: Final[Sequence[tuple[str, int, Callable[[Row], Spread | None]]]] = (
    ("all nodes done, s", 2, lambda row: row.makespan_s),
    ("the seed sends, images", 2, lambda row: row.seed_copies),
    ("CPU of all processes, s/GiB delivered", 1, lambda row: row.cpu_s_per_gib),
    ("memory of a node, MiB", 0, lambda row: row.taker_mib),
)


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float


def draw(scenario: Scenario, trials: Sequence[Trial], machine: str) -> str:
    """The whole picture. Bars are medians, thin lines from the least to the most; curves are of the median run."""
    found = [row for row in rows(scenario, trials) if row.makespan_s]
    colours = {row.system: _COLOURS[index % len(_COLOURS)] for index, row in enumerate(found)}
    panel = _HEAD + _STEP * max(len(found), 1) + 12
    body = [_text(16, 26, f"{scenario.name}: {scenario.words}", "title"), _text(16, 44, machine, "small")]
    top = 62
    for index, (title, digits, value) in enumerate(_MEASURES):
        box = _Box(16 + (index % 2) * _HALF, top + (index // 2) * panel, _HALF - 32)
        body += _bars(box, title, [(row.system, value(row)) for row in found], digits, colours)
    top += 2 * panel + 4
    longest = max((row.makespan_s.high for row in found if row.makespan_s), default=1.0)
    for index, row in enumerate(found):
        box = _Box(16 + (index % 3) * (WIDTH / 3), top + (index // 3) * (_CURVE + 30), WIDTH / 3 - 32)
        body += _curves(box, _median_run(trials, row.system), longest, colours[row.system])
    height = top + -(-len(found) // 3) * (_CURVE + 30)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            "<style>text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:16px}.small{font-size:11px;"
            "fill:#555}.head{font-weight:bold}.end{text-anchor:end}.mid{text-anchor:middle}</style>",
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _bars(
    box: _Box, title: str, values: Sequence[tuple[str, Spread | None]], digits: int, colours: dict[str, str]
) -> list[str]:
    most = max((spread.high for _, spread in values if spread), default=0.0) or 1.0
    room = box.width - _LABEL - _VALUE
    drawn = [_text(box.x, box.y + 16, title, "head")]
    for index, (system, spread) in enumerate(values):
        if spread is None:
            continue
        y = box.y + _HEAD + index * _STEP
        left = box.x + _LABEL
        low, mid, high = (left + room * value / most for value in (spread.low, spread.mid, spread.high))
        drawn.append(_text(left - 8, y + 14, system, "end"))
        drawn.append(
            f'<rect x="{left:.1f}" y="{y}" width="{mid - left:.1f}" height="{_BAR}" fill="{colours[system]}"/>'
        )
        drawn.append(_line([(low, y + _BAR / 2), (high, y + _BAR / 2)], "#222", 1.5))
        drawn.append(_text(max(mid, high) + 6, y + 14, spread.text(digits)))
    return drawn


def _curves(box: _Box, trial: Trial, longest: float, colour: str) -> list[str]:
    """One thin line for each node: the share received, from the clock to its end; a mark where it was done."""
    bottom = box.y + _CURVE - 20
    height = _CURVE - 62
    drawn = [_text(box.x, box.y + 16, f"{trial.system}: received, by node", "head")]
    drawn.append(_line([(box.x, bottom), (box.x + box.width, bottom)], "#999", 1))
    drawn.append(_line([(box.x, bottom - height), (box.x + box.width, bottom - height)], "#ddd", 1))
    for taker, points in sorted(trial.curves.items()):
        whole = max((received for _, received in points), default=0) or 1
        end = next((seconds for seconds, received in points if received >= 0.999 * whole), longest)
        path = [
            (box.x + box.width * min(seconds / longest, 1.0), bottom - height * received / whole)
            for seconds, received in points
            if seconds <= end
        ]
        drawn.append(_line(path, colour, 1))
        if taker in trial.done_s and path:
            drawn.append(f'<circle cx="{path[-1][0]:.1f}" cy="{path[-1][1]:.1f}" r="2.5" fill="{colour}"/>')
    drawn.append(_text(box.x, bottom + 15, "0", "small"))
    drawn.append(_text(box.x + box.width, bottom + 15, f"{longest:.1f} s", "small end"))
    drawn.append(_text(box.x, bottom - height - 4, "100 %", "small"))
    return drawn


def _median_run(trials: Sequence[Trial], system: str) -> Trial:
    good = sorted((one for one in trials if one.system == system and not one.failed), key=lambda one: one.makespan_s)
    return good[len(good) // 2]


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
