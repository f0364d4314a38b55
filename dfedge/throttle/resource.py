"""Giving way to the host: CPU, memory, heat, battery, disk. Pure.

While a resource is short the rate halves each second (a fifth less where it is a little short), down to the floor; then
it grows by half each second, and is free again where it was. CPU is the exception: there we know our own share, and go
straight to the one we may have.
"""

import math
from dataclasses import dataclass
from typing import Final

from dfedge.throttle.load import Load
from dfedge.throttle.policy import Policy

COOLER: Final = 3.0  # degrees below the limit at which heat is over, so that it does not swing
FULLER: Final = 0.02  # of the charge above the limit, likewise
EASED: Final = 0.6  # of a pressure's limit, likewise
GROW: Final = 1.5  # a second
MIXED: Final = 2.0  # times the limit on waiting for the disk where our own waiting, for our own writes, is in it
FIRST: Final = (
    20  # floors, to begin with where hardly anything moves yet: what is short may be so by other work of ours
)


@dataclass(frozen=True, slots=True)
class Pressed:
    """A resource that is short."""

    reason: str
    setting: str
    factor: float  # what the rate is multiplied with, a second
    disk_only: bool = False  # sending is no matter


class Resources:
    """What the host's load leaves us, each way and for the disk."""

    def __init__(self) -> None:
        self.limit = math.inf  # bytes/s, each way
        self.disk_limit = math.inf  # bytes/s to write, and so to receive
        self.pressed: tuple[Pressed, ...] = ()
        self._held: Pressed | None = None  # the last one, for as long as it shows
        self._held_disk: Pressed | None = None
        self._free = self._free_disk = 0.0  # where the limit was set first
        self.workers = 2

    def step(self, load: Load, own: float, policy: Policy, seconds: float) -> None:
        """Take a new sample; `own` is what we move now in bytes/s, the larger way."""
        before = {pressed.setting for pressed in self.pressed}
        self.pressed = tuple(_pressed(load, policy, before)) if policy.manner.yields else ()
        general = [pressed for pressed in self.pressed if not pressed.disk_only]
        disk = [pressed for pressed in self.pressed if pressed.disk_only]
        self.limit, self._free = _next(self.limit, self._free, general, own, policy.floor, seconds)
        self.disk_limit, self._free_disk = _next(self.disk_limit, self._free_disk, disk, own, policy.floor, seconds)
        self._held = (_worst(general) or self._held) if self.limit < math.inf else None
        self._held_disk = (_worst(disk) or self._held_disk) if self.disk_limit < math.inf else None
        crowded = load.cpu is not None and load.cpu.others > policy.cpu
        self.workers = 1 if policy.manner.yields and (crowded or disk) else 2

    def why(self, way: str) -> Pressed | None:
        """What set the limit of "up" or "down", if there is one."""
        if way == "down" and self.disk_limit < self.limit:
            return self._held_disk
        return self._held if self.limit < math.inf else None

    def rate(self, way: str) -> float:
        """The limit of "up" or "down"."""
        return min(self.limit, self.disk_limit) if way == "down" else self.limit


def _worst(pressed: list[Pressed]) -> Pressed | None:
    return min(pressed, key=lambda each: each.factor, default=None)


def _next(
    limit: float, free: float, pressed: list[Pressed], own: float, floor: float, seconds: float
) -> tuple[float, float]:
    worst = _worst(pressed)
    if limit == math.inf:
        if worst is None or worst.factor >= 1:
            return limit, free
        limit = free = max(own, FIRST * floor)
    limit = max(floor, limit * (worst.factor if worst is not None else GROW) ** seconds)
    shrinks = worst is not None and worst.factor < 1
    return (math.inf if not shrinks and limit > max(free, own) * GROW else limit), free


def _pressed(load: Load, policy: Policy, before: set[str]) -> list[Pressed]:
    found = []
    cpu, memory, battery = load.cpu, load.memory, load.battery
    crowded = cpu is not None and cpu.others > policy.cpu * (EASED if "cpu" in before else 1)
    if cpu is not None and crowded and (cpu.own > policy.own_cpu or ("cpu" in before and cpu.own > 0)):
        factor = max(0.25, min(1.25, policy.own_cpu / cpu.own))
        found.append(Pressed(f"other programs use {cpu.others:.0%} of the CPU", "cpu", factor))
    if memory is not None and memory.total and memory.available < policy.memory * memory.total:
        left = memory.available >> 20
        found.append(Pressed(f"{left:,} MiB of memory are left", "memory", 0.5))
    limit = policy.celsius - (COOLER if "celsius" in before else 0)
    if load.celsius is not None and load.celsius >= limit:
        found.append(Pressed(f"the board is at {load.celsius:.0f} °C", "celsius", 0.5))
    least = policy.battery + (FULLER if "battery" in before else 0)
    if battery is not None and battery.discharging and battery.charge < least:
        found.append(Pressed(f"the battery is at {battery.charge:.0%} and discharging", "battery", 0.5))
    for name, usual, words in (
        ("memory", policy.pressure_memory, "memory"),
        ("io", policy.pressure_io, "the disk"),
    ):
        pressure = load.pressure.get(name)
        setting = f"pressure_{name}"
        most = usual * (MIXED if pressure is not None and pressure.is_mixed and name == "io" else 1)
        if pressure is not None and pressure.some > most * (EASED if setting in before else 1):
            reason = f"programs waited for {words} in {pressure.some:.0f} % of the time"
            factor = 0.5 if pressure.some > 2 * most else 0.8
            found.append(Pressed(reason, setting, factor, disk_only=name == "io"))
    return found
