"""Runs as JSON lines: each is kept as soon as it has ended, and can be read again."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from board import Broken

from bench.trial import Trial


def append(path: Path, trial: Trial) -> None:
    """Add one run to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")


def read(path: Path, scenario: str) -> list[Trial]:
    """The runs of a scenario. Raises Broken, naming the line that is none."""
    try:
        return [trial for trial in _read(path) if trial.scenario == scenario]
    except OSError as error:
        raise Broken(f"{path}: {error.strerror}") from error


def _read(path: Path) -> Iterator[Trial]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield _trial(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise Broken(f"{path}: line {number} is no run ({error})") from error


def _trial(document: dict[str, Any]) -> Trial:
    known = {field.name for field in fields(Trial)}
    trial = Trial(**{key: value for key, value in document.items() if key in known})
    # JSON has text for keys and lists for pairs
    trial.done_s = {int(taker): seconds for taker, seconds in trial.done_s.items()}
    trial.curves = {
        int(taker): [(seconds, received) for seconds, received in points] for taker, points in trial.curves.items()
    }
    return trial
