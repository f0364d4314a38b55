"""What holds a transfer back on this host, ranked, each with its cost; and what does not. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dfedge.core.units import line_rate, size
from dfedge.throttle.controller import Budget, Limit
from dfedge.throttle.load import Load

NEAR: Final = 0.5  # of a limit, from which on it counts as one that holds: small rates swing much, caps count headers
KNOWN: Final = 1.05  # times the limit that the line must have carried, or we don't know what the limit costs
FULL: Final = 0.9  # of a core or of the disk's time, from which on there is no more of it


@dataclass(frozen=True, slots=True)
class Hold:
    """One thing that holds a transfer back."""

    kind: str  # "image" (what was asked for with it), "throttle", "cpu" or "disk"
    reason: str
    setting: str = ""  # the one that would change it
    rate: float = math.inf  # bytes/s that it leaves
    cost: float | None = None  # bytes/s that the line would carry besides; None: unknown
    advice: str = ""  # what to do about it, where that is no setting


def line_of(budget: Budget, way: str) -> float | None:
    """What the interfaces in use have carried that way at best of late, in bytes/s; None: nobody knows yet."""
    links = (budget.links or {}).values()
    return sum((link.up if way == "up" else link.down).capacity for link in links) or None


def holds(budget: Budget, load: Load, way: str, moving: float) -> list[Hold]:
    """What holds us back, what costs most first; `moving` is what this node moves that way in bytes/s."""
    line = line_of(budget, way)
    limits = sorted((limit for limit in _limits(budget, way) if _holds(limit, moving)), key=lambda limit: limit.rate)
    found = [
        Hold("throttle", f"the throttle: {limit.reason}", limit.setting, limit.rate, _cost(limit, line, moving))
        for limit in limits
    ]
    return found + (list(_strained(load)) if moving else [])


def holds_image(own_cap: float | None, gives_way: bool, line: float | None, moving: float) -> list[Hold]:
    """What was asked for with an image and holds it back: `own_cap` and `moving` are its own, in bytes/s."""
    found = []
    if gives_way:
        found.append(Hold("image", "an image of a higher priority goes first", advice="get it with --priority high"))
    if own_cap is not None and moving >= NEAR * own_cap:
        reason, advice = f"its own cap, get --max-rate: {line_rate(own_cap)}", "get it again with another --max-rate"
        found.append(Hold("image", reason, "", own_cap, _cost(Limit(own_cap), line, moving), advice))
    return found


def not_limiting(budget: Budget, load: Load, way: str, moving: float, held: Sequence[Hold]) -> list[tuple[str, str]]:
    """What was looked at and is no matter now, with what it is at."""
    settings = {hold.setting for hold in held}
    kinds = {hold.kind for hold in held}
    found = []
    if load.cpu is not None and load.cpu.busy < FULL and "cpu" not in kinds and "throttle.cpu" not in settings:
        found.append(("CPU", f"{load.cpu.busy:.0%} busy"))
    if load.memory is not None and not settings & {"throttle.memory", "throttle.pressure_memory"}:
        found.append(("memory", f"{size(load.memory.available)} left"))
    if load.disk is not None and "disk" not in kinds and "throttle.pressure_io" not in settings:
        found.append(("disk", f"{load.disk.busy:.0%} busy"))
    if load.celsius is not None and "throttle.celsius" not in settings:
        found.append(("temperature", f"{load.celsius:.0f} °C"))
    if load.battery is not None and "throttle.battery" not in settings:
        found.append(("battery", f"{load.battery.charge:.0%}"))
    limits = list(_limits(budget, way))
    idle = [limit for limit in limits if not _holds(limit, moving)]
    found += [(limit.reason, f"{line_rate(moving)} moved of {line_rate(limit.rate)}") for limit in idle]
    if not limits:
        found.append(("the throttle", "no limit"))
    return found


def _limits(budget: Budget, way: str) -> Iterable[Limit]:
    return (limit for each, limit in budget.limits if each == way)


def _holds(limit: Limit, moving: float) -> bool:
    """One for some peers only counts where nothing moves: else others give it to us."""
    return not moving if limit.is_partial else moving >= NEAR * limit.rate


def _cost(limit: Limit, line: float | None, moving: float) -> float | None:
    left = max(limit.rate, moving)  # a window swings: for a moment it may be less than what moves
    return line - left if line is not None and line > KNOWN * left else None


def _strained(load: Load) -> Iterator[Hold]:
    """What is used up without anybody holding us back for it."""
    cpu, disk = load.cpu, load.disk
    if cpu is not None and cpu.own * len(cpu.cores) >= FULL:
        yield Hold("cpu", f"dfedge itself keeps a core busy ({cpu.own:.0%} of {len(cpu.cores)} cores)")
    elif cpu is not None and cpu.busy >= FULL:
        yield Hold("cpu", f"the CPU is {cpu.busy:.0%} busy, {cpu.own:.0%} by dfedge")
    if disk is not None and disk.busy >= FULL:
        yield Hold("disk", f"the disk is {disk.busy:.0%} busy")
