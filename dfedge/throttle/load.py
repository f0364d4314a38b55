"""What the host is doing, as values. What a host does not tell is None or missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cpu:
    """Shares of all cores, 0.0 to 1.0, since the sample before."""

    own: float
    others: float  # of a higher priority than ours: what is niced as we are gives way by itself
    steal: float  # what the host's host took
    cores: tuple[float, ...]  # busy, of each

    @property
    def busy(self) -> float:
        """Everything."""
        return sum(self.cores) / len(self.cores) if self.cores else 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    total: int
    available: int
    swap_used: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that holds the store, since the sample before."""

    busy: float  # share of the time
    queue: float  # requests that waited, on average
    own: float  # bytes/s read and written by us
    others: float  # bytes/s by everybody else


@dataclass(frozen=True, slots=True)
class Battery:
    """A supply that can run out."""

    charge: float  # 0.0 to 1.0
    discharging: bool


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI: per cent of the last 10 s in which some or all tasks waited."""

    some: float
    full: float
    is_mixed: bool = False  # our own waiting is in it: nobody tells it apart


@dataclass(frozen=True, slots=True)
class Load:
    """One sample."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    disk: Disk | None = None
    celsius: float | None = None  # the hottest sensor
    battery: Battery | None = None
    pressure: Mapping[str, Pressure] = field(default_factory=dict)  # "cpu", "io", "memory"


@dataclass(frozen=True, slots=True)
class Traffic:
    """One direction of an interface over the last half second. Rates in bytes/s of TCP payload."""

    own: float = 0.0
    total: float = 0.0  # everybody's
    delay_s: float | None = None  # queueing on the path where it is least, of the peers that move bytes; None: unknown
    rtt_s: float | None = None  # of that path
    peers: int = 0  # that move bytes this way
    peer: str = ""  # whose path that is
    proven: float = 0.0  # what the paths of these peers have carried for us before, together
    strain_s: float = 0.0  # what that peer says of other flows' queues in its link

    @property
    def foreign(self) -> float:
        """What is not ours."""
        return max(0.0, self.total - self.own)
