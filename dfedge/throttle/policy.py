"""What the throttle is told: caps, floor, profile, limits. A value; whoever changes it hands in another."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from typing import Final

from dfedge.core.units import line_rate


class Profile(Enum):
    """How much of the host's own comfort a transfer may cost."""

    BACKGROUND = "background"
    BALANCED = "balanced"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Manner:
    """A profile in numbers."""

    target_s: float  # queueing delay that we may cause on a path
    share: float  # of a link, kept when others want it
    yields: bool  # to other traffic, CPU and disk load


MANNERS: Final[Mapping[Profile, Manner]] = {
    Profile.BACKGROUND: Manner(0.008, 0.04, yields=True),
    Profile.BALANCED: Manner(0.020, 0.40, yields=True),
    Profile.FULL: Manner(inf, 1.0, yields=False),
}


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be moved, in bytes/s on the wire, headers counted; None: no cap. Raises ValueError."""

    up: float | None = None
    down: float | None = None
    up_by: str = field(default="", compare=False)  # the setting, where it is not the usual one
    down_by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for cap in (self.up, self.down):
            if cap is not None and not 0 < cap < inf:
                raise ValueError(f"a cap of {cap} bytes/s lets nothing pass; pause instead")

    def of(self, way: str) -> float:
        """The cap of "up" or "down"; infinite where there is none."""
        cap = self.up if way == "up" else self.down
        return inf if cap is None else cap

    def by(self, way: str) -> str:
        """The setting that the cap of "up" or "down" is from; empty: the usual one."""
        return self.up_by if way == "up" else self.down_by

    def but(self, way: str, cap: float, by: str) -> "Caps":
        """The same with another cap for "up" or "down", from another setting."""
        return replace(self, up=cap, up_by=by) if way == "up" else replace(self, down=cap, down_by=by)


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a user may decide. The defaults suit a node that has other work."""

    profile: Profile = Profile.BACKGROUND
    host: Caps = field(default_factory=Caps)
    lan: Caps = field(default_factory=Caps)  # peers that are reached without a router
    uplink: Caps = field(default_factory=Caps)  # all others
    floor: float = 62_500  # bytes/s each way that load never takes from us, so that a busy node still finishes
    link_up: float | None = None  # share of each interface's speed, where the kernel tells that
    link_down: float | None = None
    paused: str = ""  # why nothing may move; empty: it may
    paused_by: str = ""  # the setting that did it
    uplink_held: str = ""  # why nothing may move beyond the LAN
    uplink_held_by: str = ""
    metered: tuple[str, ...] = ()  # interfaces on which nothing may move
    battery_pauses: bool = False  # where it is low nothing may move, instead of little
    lan_prefixes: tuple[str, ...] = ()  # networks that count as LAN though a router lies between, "10.0.0.0/8"
    cpu: float = 0.80  # share of all cores in others' hands from which on we keep to `own_cpu`
    own_cpu: float = 0.02  # share of all cores that we may take then
    memory: float = 0.05  # share of the memory below which we hold back
    celsius: float = 80.0
    battery: float = 0.20  # charge below which, discharging, we hold back
    pressure_io: float = 25.0  # per cent of 10 s in which somebody waited for the disk; 10 is common on a busy host
    pressure_memory: float = 10.0

    def link_share(self, way: str) -> float | None:
        """The share of a link for "up" or "down"; None where it has no cap."""
        return self.link_up if way == "up" else self.link_down

    @property
    def manner(self) -> Manner:
        """The profile in numbers."""
        return MANNERS[self.profile]


def cap_words(cap: float, where: str) -> str:
    """A cap for people: `cap of 10 Mbit/s up`."""
    return f"cap of {line_rate(cap)} {where}"
