"""One situation, from its LAN to its record."""

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from board import promise
from lab import Lan

from bench.guest import Dfedge, Guest, node_folder
from bench.meter import Meter
from bench.seen import Record
from bench.situation import FLOW_AT, FLOW_S, LINK, Situation
from bench.utp import Utp
from bench.wire import Wire

FLOW: Final = str(Path(__file__).with_name("flow.py"))
PORT: Final = 5000
LOOK_S: Final = 0.1
GO: Final = 200_000  # bytes within 0.1 s: it has begun
BUSY_AFTER_S: Final = 4.0  # from when on CPU and the shares of the peers are taken


class Play:
    """Node 0 with its peers, the other flow and the probe."""

    def __init__(self, situation: Situation, folder: Path, environment: Mapping[str, str], system: str) -> None:
        """`system` is dfedge or utp; `environment` are settings of dfedge's node 0."""
        self._situation, self._folder = situation, folder
        self._environment, self._system = environment, system
        self.record = Record()

    def run(self) -> Record:
        """Raises Broken, LabError."""
        situation = self._situation
        rates: list[float | None] = [LINK, *([None] * (situation.peers if situation.ours else 0)), None]
        if situation.slow_peer_mbit:
            rates[1] = situation.slow_peer_mbit
        with Lan("throttle", len(rates), rates) as lan:
            self._lan, self._far = lan, len(rates) - 1
            lan.route(0)
            meter = Meter(lan)
            wire = Wire(lan, meter.ignore)
            try:
                guest = self._guest()
                if guest is not None:
                    guest.prepare()
                self._measure(wire, guest)
            finally:
                wire.close()
        return self.record

    def _guest(self) -> Guest | None:
        if not self._situation.ours:
            return None
        if self._system == "utp":
            return Utp(self._lan, self._folder, self._situation)
        return Dfedge(self._lan, self._folder, self._situation, self._environment)

    def _measure(self, wire: Wire, guest: Guest | None) -> None:
        lan, situation = self._lan, self._situation
        self._python(self._far, "echo", str(PORT + 1))
        probe = self._python(0, "probe", lan.address(self._far), str(PORT + 1))
        sender, taker = (self._far, 0) if situation.flow == "down" else (0, self._far)
        sink = self._python(taker, "sink", str(PORT)) if situation.flow else None
        raw: list[tuple[float, int, int]] = [(time.monotonic(), wire.received(0), wire.sent(0))]
        began, flow_at = time.monotonic(), 0.0
        if guest is not None:
            guest.begin()
            began, flow_at = self._await_start(wire, raw, guest), FLOW_AT
        busy = 0.0
        while (now := time.monotonic()) < began + situation.seconds:
            raw.append((now, wire.received(0), wire.sent(0)))
            if sink is not None and now >= began + flow_at:
                self._python(sender, "source", lan.address(taker), str(PORT), str(FLOW_S))
                flow_at = float("inf")
            if guest is not None and not busy and now >= began + BUSY_AFTER_S:
                sent, used, busy = guest.sent(), guest.cpu_s(), now
            if guest is not None and len(raw) % 20 == 0:
                self._note(guest.reason())
            time.sleep(max(0.0, LOOK_S - (time.monotonic() - now)))
        if guest is not None:
            self.record.cpu = (guest.cpu_s() - used) / (time.monotonic() - busy)
            self.record.peers = {name: after - sent.get(name, 0) for name, after in guest.sent().items()}
        self.record.link = {
            "down": [(at - began, float(down)) for at, down, _ in raw],
            "up": [(at - began, float(up)) for at, _, up in raw],
        }
        self.record.probe = [(at - began, value) for at, value in _series(probe)]
        self.record.flow = [(at - began, value) for at, value in _series(sink)] if sink else []

    def _note(self, reason: str) -> None:
        if reason and reason not in self.record.reasons:
            self.record.reasons.append(reason)

    def _await_start(self, wire: Wire, raw: list[tuple[float, int, int]], guest: Guest) -> float:
        least = min(GO, (self._situation.cap_mbit or LINK) * 125_000 * LOOK_S / 2)
        deadline = time.monotonic() + 60
        while True:
            time.sleep(LOOK_S)
            raw.append((time.monotonic(), wire.received(0), wire.sent(0)))
            columns = [1 if way == "down" else 2 for way in self._situation.ours]
            if all(raw[-1][column] - raw[-2][column] >= least for column in columns):
                return raw[-1][0]
            promise(time.monotonic() < deadline, f"nothing moves; {guest.log()}")

    def _python(self, node: int, *words: str) -> Path:
        out = node_folder(self._folder, node) / f"{words[0]}.out"
        with out.open("w", encoding="utf-8") as file:
            self._lan.popen(node, [sys.executable, FLOW, *words], stdout=file)
        return out


def _series(path: Path) -> Iterator[tuple[float, float]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        at, _, value = line.partition(" ")
        if value:
            yield float(at), float(value)
