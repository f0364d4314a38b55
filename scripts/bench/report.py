"""The numbers as Markdown, for the terminal and for docs/performance.md alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.scenario import Scenario
from bench.summary import Row, Spread, by_rate, ratios, rows
from bench.trial import Trial

HEAD = ("system", "all done, s", "× S/R", "seed sends", "CPU, s", "CPU s/GiB", "memory of a node, MiB", "ended well")


@dataclass(frozen=True, slots=True)
class About:
    """What a section says beside the numbers."""

    systems: Mapping[str, str]  # name -> how it is set up
    machine: str
    command: str
    picture: str  # the SVG's path, from the page


def table(scenario: Scenario, trials: Sequence[Trial], skipped: Mapping[str, str]) -> str:
    """The comparison: a row a system, then the ratios of dfedge to the others, and what went wrong."""
    found = rows(scenario, trials)
    lines = [HEAD, *(_cells(scenario, row) for row in found)]
    lines += [(system, f"skipped: {reason}", *[""] * 6) for system, reason in skipped.items()]
    text = [markdown(lines)]
    text += _ratio_lines(trials)
    text += _kinds(scenario, trials, found)
    text += _deaths(scenario, trials)
    text += [f"- {name} from its own start: {spread.text()} × S/R" for name, spread in _late(scenario, trials).items()]
    for row in found:
        text += [f"- {row.system} failed: {why}" for why in dict.fromkeys(row.failures)]
    loads = Spread.of(trial.load for trial in trials)
    if loads is not None:
        text.append(f"- load average before a run: {loads.text(1)}")
    return "\n".join(text)


def section(scenario: Scenario, trials: Sequence[Trial], skipped: Mapping[str, str], about: About) -> str:
    """What goes into the page: the table, the picture, and all that one must know to believe them."""
    systems = [f"- *{name}*: {words}." for name, words in about.systems.items()]
    rounds = max((trial.round for trial in trials), default=0)
    return "\n".join(
        [
            f"### {scenario.name}: {scenario.words}",
            "",
            f"Medians of {rounds} rounds [least–most]; each round runs every system once on a fresh LAN, and the ratios"
            " are taken within a round. The image is random bytes and lies at the seed before the clock; every copy is"
            " hashed afterwards. What the seed sends is counted on its link, headers included.",
            "",
            table(scenario, trials, skipped),
            "",
            f"![{scenario.name}, as a picture]({about.picture})",
            "",
            *systems,
            "",
            f"Machine: {about.machine}. Again: `{about.command}`",
        ]
    )


def line(trial: Trial) -> str:
    """One run in one line."""
    if trial.failed:
        return f"round {trial.round}  {trial.system:<12} failed: {trial.failed}  (load {trial.load:.1f})"
    died = f"  seed killed at {trial.seed_died_s:.2f} s" if trial.seed_died_s is not None else ""
    return (
        f"round {trial.round}  {trial.system:<12} {trial.makespan_s:7.2f} s  CPU {trial.cpu_s:6.2f} s  "
        f"seed {trial.seed_sent / 2**20:7.1f} MiB  node {trial.taker_peak / 2**20:5.1f} MiB  "
        f"(load {trial.load:.1f}){died}"
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head, padded so that it can be read as text too."""
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in lines
    ]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def _cells(scenario: Scenario, row: Row) -> tuple[str, ...]:
    bound = scenario.line_s(0)
    times = f"{row.makespan_s.mid / bound:.2f}" if row.makespan_s and bound else ""
    return (
        row.system,
        _text(row.makespan_s, 2),
        times,
        _text(row.seed_copies, 2, " ×"),
        _text(row.cpu_s, 1),
        _text(row.cpu_s_per_gib, 1),
        _text(row.taker_mib, 0),
        f"{row.runs - len(row.failures)} of {row.runs}",
    )


def _text(spread: Spread | None, digits: int, unit: str = "") -> str:
    return spread.text(digits) + unit if spread else "–"


def _ratio_lines(trials: Sequence[Trial]) -> list[str]:
    times, cpu = ratios(trials, lambda trial: trial.makespan_s), ratios(trials, lambda trial: trial.cpu_s)
    return [
        "",
        *(
            f"- dfedge / {other}: time {times[other].text()}, CPU {cpu[other].text()}"
            for other in times
            if other in cpu
        ),
    ]


def _kinds(scenario: Scenario, trials: Sequence[Trial], found: Sequence[Row]) -> list[str]:
    text = []
    for row in found:
        kinds = by_rate(scenario, trials, row.system)
        for rate, spread in sorted(kinds.items(), reverse=True):
            times = spread.mid * rate * 1e6 / (scenario.size * 8)
            text.append(f"- {row.system}, nodes at {rate:g} Mbit/s: {spread.text()} s = {times:.2f} × their own S/R")
    return text


def _deaths(scenario: Scenario, trials: Sequence[Trial]) -> list[str]:
    """Who lost its seed: one that never sends that much is not put to the test, and the table must not hide it."""
    if scenario.seed_dies_at is None:
        return []
    text = []
    for system in dict.fromkeys(trial.system for trial in trials):
        runs = [trial for trial in trials if trial.system == system]
        died = Spread.of(trial.seed_died_s for trial in runs if trial.seed_died_s is not None)
        killed = f"killed in {sum(trial.seed_died_s is not None for trial in runs)} of {len(runs)} runs"
        when = f", after {died.text()} s" if died else f": it never sent {scenario.seed_dies_at:g} ×"
        text.append(f"- {system}, the seed was {killed}{when}")
    return text


def _late(scenario: Scenario, trials: Sequence[Trial]) -> dict[str, Spread]:
    line_s = scenario.line_s(0)
    if not scenario.late or line_s is None:
        return {}
    made = {}
    for system in dict.fromkeys(trial.system for trial in trials):
        runs = [trial for trial in trials if trial.system == system and not trial.failed]
        spread = Spread.of(max(trial.done_s[late] for late in scenario.late) / line_s for trial in runs)
        if spread is not None:
            made[f"{system}, late joiner"] = spread
    return made
