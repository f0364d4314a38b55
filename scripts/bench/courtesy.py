"""Staying out of the way, measured: `scripts/bench/throttle down-flow up-flow --profile full`.

Node 0 is ours, behind a link of 100 Mbit/s with 50 ms of FIFO at either end; its peers and the other flow's far end are
not shaped. What is ours on the link is what its counters say less what the other flow got.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from board import DFEDGE, Broken, Member, promise
from lab import Lan, available
from lab.command import LabError

from bench import machine
from bench.command import roomiest
from bench.meter import TICK_S, Meter
from bench.scenario import MIB
from bench.stage import Image
from bench.wire import Wire
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join

LINK: Final = 100.0  # Mbit/s
FLOW: Final = str(Path(__file__).with_name("flow.py"))
FLOW_AT: Final = 6.0  # seconds after dfedge has begun
FLOW_S: Final = 8.0
END: Final = 21.0
PORT: Final = 5000
LOOK_S: Final = 0.1
HEADERS: Final = 1.01  # bytes the link counts for a byte of the flow; segments that travel as one have one header
GO: Final = 200_000  # bytes within 0.1 s: dfedge has begun
Series = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Situation:
    """What happens at node 0."""

    words: str
    ours: tuple[str, ...] = ()  # ways that dfedge uses
    flow: str = ""  # way of the other flow
    peers: int = 1
    cap_mbit: float | None = None
    slow_peer_mbit: float | None = None
    seconds: float = END


SITUATIONS: Final[Mapping[str, Situation]] = {
    "flow-down": Situation("a download alone, no dfedge", flow="down"),
    "flow-up": Situation("an upload alone, no dfedge", flow="up"),
    "down": Situation("dfedge fetches, nobody else", ("down",), seconds=12.0),
    "up": Situation("dfedge serves, nobody else", ("up",), seconds=12.0),
    "down-flow": Situation("dfedge fetches, then a download", ("down",), "down"),
    "up-flow": Situation("dfedge serves, then an upload", ("up",), "up"),
    "down-flow-4": Situation("dfedge fetches from 4, then a download", ("down",), "down", peers=4),
    "up-flow-4": Situation("dfedge serves 4, then an upload", ("up",), "up", peers=4),
    "both": Situation("dfedge fetches and serves, nobody else", ("down", "up"), seconds=14.0),
    "both-flow-down": Situation("dfedge fetches and serves, then a download", ("down", "up"), "down"),
    "both-flow-up": Situation("dfedge fetches and serves, then an upload", ("down", "up"), "up"),
    "cap-1-down": Situation("a cap of 1 Mbit/s, fetching", ("down",), cap_mbit=1, seconds=16.0),
    "cap-1-up": Situation("a cap of 1 Mbit/s, serving", ("up",), cap_mbit=1, seconds=16.0),
    "cap-10-down": Situation("a cap of 10 Mbit/s, fetching", ("down",), cap_mbit=10, seconds=16.0),
    "cap-10-up": Situation("a cap of 10 Mbit/s, serving", ("up",), cap_mbit=10, seconds=16.0),
    "cap-50-down": Situation("a cap of 50 Mbit/s, fetching", ("down",), cap_mbit=50, seconds=16.0),
    "cap-50-up": Situation("a cap of 50 Mbit/s, serving", ("up",), cap_mbit=50, seconds=16.0),
    "fair": Situation("dfedge serves 8, one behind 4 Mbit/s", ("up",), peers=8, slow_peer_mbit=4, seconds=14.0),
}


@dataclass(slots=True)
class Record:
    """What was seen at node 0, seconds after dfedge began (or the flow, where there is no dfedge)."""

    link: dict[str, Series] = field(default_factory=lambda: {"down": [], "up": []})  # bytes so far
    flow: Series = field(default_factory=list)  # bytes so far
    probe: Series = field(default_factory=list)  # ms
    peers: dict[str, int] = field(default_factory=dict)  # bytes sent to each, from the 4th second to the end
    cpu: float = 0.0  # cores, of node 0's agent
    reasons: list[str] = field(default_factory=list)

    def rate(self, way: str, since: float, until: float, *, ours: bool = True) -> float:
        """Mbit/s on the wire; of dfedge, or of everybody."""
        total = _between(self.link[way], since, until)
        return (total - (HEADERS * _between(self.flow, since, until) if ours else 0.0)) * 8 / 1e6 / (until - since)

    def flow_rate(self, since: float, until: float) -> float:
        """Mbit/s of the other flow's payload."""
        return _between(self.flow, since, until) * 8 / 1e6 / (until - since)

    def delay(self, since: float, until: float) -> float:
        """The probe's median in ms."""
        return statistics.median([ms for at, ms in self.probe if since <= at < until] or [0.0])

    def windows(self, way: str, since: float, until: float) -> list[float]:
        """Mbit/s in each tenth of a second."""
        points = [point for point in self.link[way] if since <= point[0] <= until]
        return [(after[1] - before[1]) * 8 / 1e6 / (after[0] - before[0]) for before, after in pairwise(points)]


def _between(series: Series, since: float, until: float) -> float:
    """How much it grew, points between taken as on a line."""
    return _at(series, until) - _at(series, since)


def _at(series: Series, when: float) -> float:
    before = next((point for point in reversed(series) if point[0] <= when), None)
    after = next((point for point in series if point[0] > when), None)
    if before is None:
        return 0.0
    if after is None:
        return before[1]
    return before[1] + (after[1] - before[1]) * (when - before[0]) / (after[0] - before[0])


class Play:
    """One situation, from its LAN to its record."""

    def __init__(self, situation: Situation, folder: Path, environment: Mapping[str, str]) -> None:
        self._situation, self._folder = situation, folder
        self._environment = dict(environment)
        self.record = Record()

    def run(self) -> Record:
        """Raises Broken, LabError."""
        situation = self._situation
        peers = situation.peers if situation.ours else 0
        rates: list[float | None] = [LINK, *([None] * peers), None]
        if situation.slow_peer_mbit:
            rates[1] = situation.slow_peer_mbit
        with Lan("throttle", len(rates), rates) as lan:
            self._lan, self._far = lan, len(rates) - 1
            lan.route(0)
            meter = Meter(lan)
            wire = Wire(lan, meter.ignore)
            try:
                self._prepare(peers)
                self._measure(wire)
            finally:
                wire.close()
        return self.record

    def _prepare(self, peers: int) -> None:
        self._members = [Member(self._lan, node, f"node-{node}", self._at(node)) for node in range(peers + 1)]
        if not self._situation.ours:
            return
        (self._folder / "dfedge.toml").touch()
        init_fleet(self._folder / "fleet", "bench")
        for member in self._members:
            enrolment = self._folder / f"enrol-{member.name}"
            enroll(self._folder / "fleet", member.name, {}, enrolment)
            join(enrolment, member.folder / "state")
        images = {"down": self._image("down"), "up": self._image("up")}
        for member in self._members[1:]:
            member.start()
        listed = ",".join(f"{self._lan.address(member.number)}:7411" for member in self._members[1:])
        self._environment["DFEDGE_DISCOVERY_PEERS"] = listed
        command = ("env", *(f"{key}={value}" for key, value in self._environment.items()), DFEDGE)
        self._members[0].start(command)
        self._members[0].await_peers(peers, 60)
        if "down" in self._situation.ours:
            self._publish(self._members[1], images["down"], "down")
            for member in self._members[2:]:
                member.ask("get", "down:1")
        if "up" in self._situation.ours:
            self._publish(self._members[0], images["up"], "up")

    def _image(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        mbit = min(LINK, self._situation.cap_mbit or LINK)
        return Image.make(folder, max(8 * MIB, int(1.1 * self._situation.seconds * mbit * 125_000))).path

    def _publish(self, member: Member, image: Path, name: str) -> None:
        member.ask("publish", str(image), "--name", name, "--version", "1")
        image.unlink()

    def _at(self, node: int) -> Path:
        folder = self._folder / f"node{node}"
        folder.mkdir(exist_ok=True)
        return folder

    def _measure(self, wire: Wire) -> None:
        lan, situation = self._lan, self._situation
        self._python(self._far, "echo", str(PORT + 1))
        probe = self._python(0, "probe", lan.address(self._far), str(PORT + 1))
        sender, taker = (self._far, 0) if situation.flow == "down" else (0, self._far)
        sink = self._python(taker, "sink", str(PORT)) if situation.flow else None
        raw: list[tuple[float, int, int]] = [(time.monotonic(), wire.received(0), wire.sent(0))]
        for way in situation.ours:
            for node in [0] if way == "down" else range(1, situation.peers + 1):
                self._get(node, way)
        began = self._await_start(wire, raw) if situation.ours else time.monotonic()
        flow_at = began + (FLOW_AT if situation.ours else 0.0)
        cpu_before = cpu_at = 0.0
        while (now := time.monotonic()) < began + situation.seconds:
            raw.append((now, wire.received(0), wire.sent(0)))
            if sink is not None and now >= flow_at:
                self._python(sender, "source", lan.address(taker), str(PORT), str(FLOW_S))
                flow_at = float("inf")
            if situation.ours and not cpu_at and now >= began + 4:
                sent = self._sent()
                cpu_before, cpu_at = self._cpu(), now
            if situation.ours and len(raw) % 20 == 0:
                self._ask_reason()
            time.sleep(max(0.0, LOOK_S - (time.monotonic() - now)))
        if situation.ours:
            self.record.cpu = (self._cpu() - cpu_before) / (time.monotonic() - cpu_at)
            self.record.peers = {name: after - sent.get(name, 0) for name, after in self._sent().items()}
        self.record.link = {
            "down": [(at - began, float(down)) for at, down, _ in raw],
            "up": [(at - began, float(up)) for at, _, up in raw],
        }
        self.record.probe = [(at - began, value) for at, value in _series(probe)]
        self.record.flow = [(at - began, value) for at, value in _series(sink)] if sink else []

    def _await_start(self, wire: Wire, raw: list[tuple[float, int, int]]) -> float:
        least = min(GO, (self._situation.cap_mbit or LINK) * 125_000 * LOOK_S / 2)
        deadline = time.monotonic() + 60
        while True:
            time.sleep(LOOK_S)
            raw.append((time.monotonic(), wire.received(0), wire.sent(0)))
            columns = [1 if way == "down" else 2 for way in self._situation.ours]
            if all(raw[-1][column] - raw[-2][column] >= least for column in columns):
                return raw[-1][0]
            promise(time.monotonic() < deadline, f"dfedge moves nothing; {self._members[0].log()}")

    def _get(self, node: int, name: str) -> None:
        member = self._members[node]
        log = (member.folder / f"get-{name}").open("w", encoding="utf-8")
        with log:
            self._lan.popen(node, [DFEDGE, "get", f"{name}:1"], member.environment, stdout=log, stderr=log)

    def _python(self, node: int, *words: str) -> Path:
        out = self._at(node) / f"{words[0]}.out"
        with out.open("w", encoding="utf-8") as file:
            self._lan.popen(node, [sys.executable, FLOW, *words], stdout=file)
        return out

    def _ask_reason(self) -> None:
        try:
            text = self._members[0].ask("status")["throttle"]["reason"]
        except Broken:
            return
        if text not in self.record.reasons:
            self.record.reasons.append(text)

    def _sent(self) -> dict[str, int]:
        return {peer["name"]: int(peer["bytes_up"]) for peer in self._members[0].ask("peers")["peers"]}

    def _cpu(self) -> float:
        agent = self._members[0].agent
        if agent is None:
            return 0.0
        # `env` has become dfedge
        fields = Path(f"/proc/{agent.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S


def _series(path: Path) -> Iterator[tuple[float, float]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        at, _, value = line.partition(" ")
        if value:
            yield float(at), float(value)


def words(name: str, situation: Situation, record: Record) -> str:
    """A line of the table."""
    cells = [f"{name:<15}"]
    flow_at = FLOW_AT if situation.ours else 0.0
    late = (flow_at + 2.5, flow_at + FLOW_S - 0.5)
    if situation.cap_mbit:
        way = situation.ours[0]
        windows = record.windows(way, 4, 14)
        cells.append(f"{record.rate(way, 4, 14):6.2f} Mbit/s, tenths {min(windows):.2f} to {max(windows):.2f}")
    elif situation.ours:
        alone = (3.0, FLOW_AT if situation.flow else situation.seconds - 1)
        cells += [f"alone {way} {record.rate(way, *alone):5.1f}" for way in situation.ours]
        cells.append(f"ping {record.delay(*alone):5.1f}")
    if situation.flow:
        beside = [f"ours {way} {record.rate(way, *late, ours=way == situation.flow):5.1f}" for way in situation.ours]
        cells += [f"flow {record.flow_rate(*late):5.1f}", *beside, f"ping {record.delay(*late):5.1f}"]
        if situation.ours:
            cells += [f"back {_back(record, way):.1f} s" for way in situation.ours if way == situation.flow]
    if situation.slow_peer_mbit:
        got = sorted(moved for name, moved in record.peers.items() if name != "node-1")
        cells.append(f"least/most {got[0] / max(1, got[-1]):.2f}")
    if situation.ours:
        cells.append(f"cpu {record.cpu:.2f}")
    return "  ".join(cells) + ("\n" + " " * 17 + "; ".join(record.reasons) if record.reasons else "")


def _back(record: Record, way: str) -> float:
    """Seconds after the flow's end until ours is at 90 % of what it was."""
    wanted = 0.9 * record.rate(way, 3.0, FLOW_AT)
    end = FLOW_AT + FLOW_S
    for tenth in range(int((END - end - 1) * 10)):
        start = end + tenth / 10
        if record.rate(way, start, start + 0.5) >= wanted:
            return tenth / 10
    return float("inf")


@contextmanager
def _folder(temp: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=temp) as made:
        yield Path(made)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/throttle",
        description="example: scripts/bench/throttle down-flow up-flow\n\nMbit/s on the wire, ms; medians of one run.",
        epilog="situations:\n" + "\n".join(f"  {name:<15} {one.words}" for name, one in SITUATIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("situation", nargs="*", choices=[*SITUATIONS, []], metavar="SITUATION", help="none: all")
    parser.add_argument("--profile", default="background", help="background, balanced, full, or off")
    parser.add_argument("--temp", type=Path, default=roomiest(), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if reason := available():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    print(f"machine: {machine.words()}\nprofile: {args.profile}", flush=True)
    failed = False
    for name in args.situation or SITUATIONS:
        situation = SITUATIONS[name]
        try:
            with _folder(args.temp) as folder:
                print(words(name, situation, Play(situation, folder, _environment(args.profile, situation)).run()))
        except (Broken, LabError) as error:
            print(f"{name:<15}  failed: {error}")
            failed = True
        sys.stdout.flush()
    return 1 if failed else 0


def _environment(profile: str, situation: Situation) -> dict[str, str]:
    settings = {"PROFILE": profile} if profile != "off" else {"ENABLED": "false"}
    if situation.cap_mbit:
        settings |= {"MAX_UP": f"{situation.cap_mbit} Mbit/s", "MAX_DOWN": f"{situation.cap_mbit} Mbit/s"}
    return {f"DFEDGE_THROTTLE_{key}": value for key, value in settings.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
