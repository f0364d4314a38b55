"""One picture of `dfedge top`, as lines: head, images, peers, host. Pure: a document and its last minute in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dfedge.cli import budget
from dfedge.cli.field import Document, counted, image_label, number, part, rows, whole, word
from dfedge.cli.progress import about
from dfedge.cli.spark import ASCII_STEPS, STEPS, History, sparkline
from dfedge.cli.table import table
from dfedge.core.units import duration, line_rate, size

FEWEST: Final = 3  # lines that each table has, however low the terminal


@dataclass(frozen=True, slots=True)
class Room:
    """What a picture may fill; None: as much as it needs."""

    columns: int | None = None
    lines: int | None = None
    ascii: bool = False  # nothing else can be shown
    keys: str = ""  # what may be pressed

    @property
    def spark(self) -> int:
        """Characters for a minute."""
        return 20 if self.columns is None else min(60, max(6, self.columns // 4))


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and whether to stress it."""

    text: str
    strong: bool = False


def measured(answer: Document) -> dict[str, float]:
    """What the minute is kept of."""
    load = part(part(answer, "throttle"), "load")
    found = {"down": number(answer, "rate_down"), "up": number(answer, "rate_up")}
    for name, value in (("cpu", "busy"), ("disk", "busy")):
        if name in load:
            found[name] = number(part(load, name), value)
    if "memory" in load:
        found["memory"] = _used(part(load, "memory"))
    if "celsius" in load:
        found["celsius"] = number(load, "celsius")
    for name, pressure in part(load, "pressure").items():
        if isinstance(pressure, dict):
            found[f"pressure {name}"] = number(pressure, "some")
    return found


def picture(answer: Document, history: History, room: Room) -> list[Line]:
    """All of it, cut to the room there is."""
    draw = _Draw(answer, history, room)
    head, host = list(draw.head()), list(draw.host())
    left = None if room.lines is None else max(2 * FEWEST, room.lines - len(head) - len(host))
    wanted = len(rows(answer, "peers")) + 1  # lines; images have what peers leave, or half
    images = draw.images(None if left is None else max(left // 2, left - max(wanted, FEWEST)))
    peers = draw.peers(None if left is None else left - len(images))
    lines = [*head, *images, *peers, *host]
    return [Line(_cut(line.text, room), line.strong) for line in lines[: room.lines]]


class _Draw:
    def __init__(self, answer: Document, history: History, room: Room) -> None:
        self._answer = answer
        self._throttle = part(answer, "throttle")
        self._load = part(self._throttle, "load")
        self._history = history
        self._room = room

    def head(self) -> Iterator[Line]:
        answer, node = self._answer, part(self._answer, "node")
        facts = [f"dfedge {word(node, 'name') or word(node, 'id')[:12]}", f"up {duration(number(answer, 'uptime'))}"]
        facts += [f"RSS {size(whole(answer, 'rss'))}", counted(len(rows(answer, "peers")), "peer")]
        if self._room.keys:
            facts.append(self._room.keys)
        yield from (Line(text, strong=True) for text in _flow(facts, self._room))
        for way in ("down", "up"):
            limit = budget.most(self._throttle, f"budget_{way}")
            of = limit if limit == "no limit" else f"at most {limit}"
            rate = line_rate(number(answer, f"rate_{way}"))
            yield Line(f"{way:<6}{self._spark(way)}{rate}, {of}")
        why = budget.paused(self._throttle) or budget.reason(self._throttle)
        off = self._throttle.get("enabled") is False
        yield Line(f"limit {'the throttle is off' if off else why or 'none'}")

    def images(self, most: int | None) -> list[Line]:
        header = ["IMAGE", "STATE", ">DONE", ">PEERS", ">DOWN", ">UP", ">ETA", "LIMITED BY"]
        found = [
            [
                image_label(row),
                word(row, "state"),
                f"{_per_cent(row)} %",
                f"{whole(row, 'peers_open')}/{whole(row, 'peers')}",
                line_rate(number(row, "rate_down")),
                line_rate(number(row, "rate_up")),
                about(number(row, "eta")) if row.get("eta") is not None else "-",
                word(row, "limited_by", "-").removeprefix("the throttle: "),
            ]
            for row in sorted(rows(self._answer, "images"), key=_liveliest)
        ]
        return self._table(header, found, most, "no image is on the move")

    def peers(self, most: int | None) -> list[Line]:
        header = ["PEER", ">DOWN", ">UP", ">GOT", ">GAVE", "STATE"]
        found = [
            [
                word(row, "name") or word(row, "id")[:12],
                line_rate(number(row, "rate_down")),
                line_rate(number(row, "rate_up")),
                size(whole(row, "bytes_down")),
                size(whole(row, "bytes_up")),
                word(row, "state", "-"),
            ]
            for row in sorted(rows(self._answer, "peers"), key=_liveliest)
        ]
        return self._table(header, found, most, "no peers yet")

    def host(self) -> Iterator[Line]:
        """What the host tells; a source that it lacks has no line."""
        load = self._load
        if "cpu" in load:
            cpu = part(load, "cpu")
            busy, others, own = (_share(number(cpu, key)) for key in ("busy", "others", "own"))
            yield Line(f"CPU   {self._spark('cpu', 1.0)}{busy} busy: others {others}, dfedge {own}")
        if "memory" in load:
            memory = part(load, "memory")
            left = f"{size(number(memory, 'available'))} of {size(number(memory, 'total'))} left"
            yield Line(f"MEM   {self._spark('memory', 1.0)}{_share(_used(memory))} used, {left}")
        for name, pressure in part(load, "pressure").items():
            if isinstance(pressure, dict):
                some = f"{number(pressure, 'some'):.0f} % of the time somebody waited"
                yield Line(f"{'PSI ' + name:<11} {self._spark(f'pressure {name}', 100.0)}{some}")
        if "disk" in load:
            disk = part(load, "disk")
            own, others = (f"{size(number(disk, key))}/s" for key in ("own", "others"))
            yield Line(
                f"DISK  {self._spark('disk', 1.0)}{_share(number(disk, 'busy'))} busy: others {others}, dfedge {own}"
            )
        if "celsius" in load:
            yield Line(f"HEAT  {self._spark('celsius', 100.0)}{number(load, 'celsius'):.0f} °C")
        if "battery" in load:
            battery = part(load, "battery")
            going = ", discharging" if battery.get("discharging") else ""
            yield Line(f"BATT  {_share(number(battery, 'charge'))}{going}")

    def _spark(self, name: str, top: float | None = None) -> str:
        steps = ASCII_STEPS if self._room.ascii else STEPS
        line = sparkline(self._history.of(name), self._room.spark, top, steps)
        return f"{line}  " if line else ""

    def _table(self, header: list[str], found: list[list[str]], most: int | None, none: str) -> list[Line]:
        if not found:
            return [Line(none)]
        shown = found if most is None or len(found) < most else found[: max(0, most - 2)]
        if self._room.columns is not None:  # the last column is words: cut rather than dropped
            others = sum(max(map(len, column)) + 2 for column in list(zip(header, *found, strict=True))[:-1])
            last = max(len(header[-1]), self._room.columns - others)
            shown = [[*row[:-1], row[-1][:last]] for row in shown]
        first, *rest = table(header, shown, self._room.columns)
        lines = [Line(first, strong=True), *map(Line, rest)]
        return lines if len(shown) == len(found) else [*lines, Line(f"and {len(found) - len(shown)} more")]


def _liveliest(row: Document) -> tuple[bool, float]:
    """What is fetched comes first, then what moves most."""
    return (word(row, "state") == "seeding", -number(row, "rate_down") - number(row, "rate_up"))


def _per_cent(row: Document) -> int:
    total = whole(row, "bytes_total")
    return 100 * whole(row, "bytes_done") // total if total else 100


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _used(memory: Document) -> float:
    total = number(memory, "total")
    return 1 - number(memory, "available") / total if total else 0.0


def _flow(facts: Sequence[str], room: Room) -> list[str]:
    """Side by side, in as many lines as it takes."""
    lines = [facts[0]]
    for fact in facts[1:]:
        if room.columns is None or len(lines[-1]) + 3 + len(fact) <= room.columns:
            lines[-1] += f"   {fact}"
        else:
            lines.append(fact)
    return lines


def _cut(text: str, room: Room) -> str:
    if room.ascii:
        text = text.encode("ascii", "replace").decode()
    if room.columns is None or len(text) <= room.columns:
        return text
    return text[: room.columns] if room.ascii else f"{text[: max(0, room.columns - 1)]}…"
