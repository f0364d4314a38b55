"""One run of one system: a fresh LAN, the preparation, the clock, the proof."""

import hashlib
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from board import Broken, promise
from lab import Lan

from bench.meter import Meter
from bench.scenario import Scenario
from bench.stage import SEED, Image, Stage
from bench.system import System
from bench.warmth import warm
from bench.wire import Wire

LOOK_S: Final = 0.01  # between two looks at who is done: the error of a time
WIRE_S: Final = 0.2  # between two points of a curve
METER_S: Final = (0.25, 1.0)  # between two looks at the processes: soon after the clock, and later
HEADERS: Final = 1.01  # bytes the link counts for a byte of payload; segments that travel as one have one header
ORPHANS_S: Final = 60.0  # how long takers may go on once the seed is dead, beside five times S/R


@dataclass(slots=True)
class Trial:
    """What one run gave. Times are seconds after the clock, of late joiners after their own start."""

    system: str
    scenario: str
    round: int
    load: float  # the machine's load average before the clock
    failed: str = ""  # why it did not end well
    done_s: dict[int, float] = field(default_factory=dict)  # taker -> when it had all of it
    makespan_s: float = 0.0
    seed_sent: int = 0  # bytes on the wire
    cpu_s: float = 0.0  # all processes of all nodes, user and system
    taker_peak: int = 0  # bytes, the biggest process of any taker
    seed_peak: int = 0
    peaks: dict[str, int] = field(default_factory=dict)  # command -> bytes, at the first taker
    seed_died_s: float | None = None
    curves: dict[int, list[tuple[float, int]]] = field(default_factory=dict)  # taker -> (seconds, bytes received)
    facts: dict[str, Any] = field(default_factory=dict)


def run(
    system: type[System], scenario: Scenario, image: Image, folder: Path, round_: int, profile: Path | None = None
) -> Trial:
    """Run it in `folder`, which is gone afterwards. What goes wrong is in the result; only signals are raised."""
    folder.mkdir()
    trial = Trial(system.name, scenario.name, round_, os.getloadavg()[0])
    try:
        with Lan("bench", scenario.takers + 1, scenario.rates) as lan:
            meter = Meter(lan)
            wire = Wire(lan, meter.ignore)
            try:
                stage = Stage(lan, scenario, image, folder, meter, profile)
                _measure(system(stage), stage, wire, trial)
            finally:
                wire.close()
    except (Broken, OSError, TimeoutError) as error:
        trial.failed = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return trial


def _measure(system: System, stage: Stage, wire: Wire, trial: Trial) -> None:
    system.prepare()
    stage.lan.loss(stage.scenario.loss_permille)
    os.sync()  # what the preparation wrote must not be written during the run
    warm(stage.scenario.takers * stage.scenario.size)
    trial.load = os.getloadavg()[0]
    race = _Race(system, stage, wire, trial)
    try:
        race.run()
    finally:
        race.end()
    for taker in stage.scenario.stayers:
        _prove(stage, taker, system.copy(taker))
    trial.facts = system.facts()
    if stage.profile is not None:
        system.end_profiled()


class _Race:
    """From the clock to the last taker."""

    def __init__(self, system: System, stage: Stage, wire: Wire, trial: Trial) -> None:
        self._system, self._stage, self._wire, self._trial = system, stage, wire, trial
        self._scenario: Scenario = stage.scenario
        self._waiting = sorted(self._scenario.numbers, key=self._scenario.start_s)
        self._running: list[int] = []
        self._began: dict[int, float] = {}
        self._leaving = dict(self._scenario.leaves)
        self._next_wire = self._next_meter = 0.0
        stage.meter.look()
        self._cpu_before = stage.meter.cpu_s()
        self._sent_before = wire.sent(SEED)
        self._received_before = {taker: wire.received(taker) for taker in self._scenario.numbers}
        self._start = time.monotonic()

    def run(self) -> None:
        """Raises Broken when a taker fails or the time is up."""
        while self._waiting or self._running:
            now = time.monotonic() - self._start
            promise(now < self._limit_s(), f"{self._left()} not done after {now:.0f} s")
            while self._waiting and self._scenario.start_s(self._waiting[0]) <= now:
                taker = self._waiting.pop(0)
                self._began[taker] = time.monotonic() - self._start
                self._system.go(taker)
                self._running.append(taker)
            self._look(now)
            self._strike(now)
            time.sleep(LOOK_S)

    def end(self) -> None:
        """Write down what was used, also of a run that failed."""
        self._trial.seed_sent = self._wire.sent(SEED) - self._sent_before
        self._stage.meter.look()
        trial, meter = self._trial, self._stage.meter
        trial.cpu_s = meter.cpu_s() - self._cpu_before
        trial.makespan_s = max((self._began[taker] + took for taker, took in trial.done_s.items()), default=0.0)
        trial.taker_peak = meter.peak_bytes(self._scenario.stayers)
        trial.seed_peak = meter.peak_bytes([SEED])
        trial.peaks = meter.peaks(self._scenario.stayers[0])
        self._point(time.monotonic() - self._start)

    def _look(self, now: float) -> None:
        for taker in [taker for taker in self._running if self._system.done(taker)]:
            self._trial.done_s[taker] = time.monotonic() - self._start - self._began[taker]
            self._running.remove(taker)
        if now >= self._next_wire:
            self._point(now)
            self._next_wire = now + WIRE_S
        if now >= self._next_meter:
            self._stage.meter.look()
            self._next_meter = now + min(max(now, METER_S[0]), METER_S[1])

    def _point(self, now: float) -> None:
        for taker in self._scenario.numbers:
            received = self._wire.received(taker) - self._received_before[taker]
            self._trial.curves.setdefault(taker, []).append((round(now, 3), received))

    def _strike(self, now: float) -> None:
        for taker in [taker for taker, when in self._leaving.items() if now >= when]:
            del self._leaving[taker]
            if taker in self._running:
                self._running.remove(taker)
            self._kill(taker)
        share = self._scenario.seed_dies_at
        if share is not None and self._trial.seed_died_s is None:
            sent = (self._wire.sent(SEED) - self._sent_before) / HEADERS
            if sent >= share * self._scenario.size:
                self._trial.seed_died_s = round(now, 3)
                self._kill(SEED)

    def _kill(self, node: int) -> None:
        self._stage.meter.look()
        for pid in self._stage.meter.pids(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _limit_s(self) -> float:
        if self._trial.seed_died_s is None:
            return self._scenario.limit_s
        return self._trial.seed_died_s + ORPHANS_S + 5 * (self._scenario.line_s() or 0.0)

    def _left(self) -> str:
        left = sorted((*self._waiting, *self._running))
        return f"{len(left)} of {self._scenario.takers} takers ({', '.join(map(str, left[:8]))})"


def _prove(stage: Stage, taker: int, path: Path) -> None:
    """Hash a copy as anybody would; what counts is the file, not what a program says of it. Raises Broken."""
    promise(path.is_file(), f"node {taker}: says it is done, but there is no file")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    promise(
        found == stage.image.sha256, f"node {taker}: its file has SHA-256 {found[:16]}…, {path.stat().st_size:,} bytes"
    )
