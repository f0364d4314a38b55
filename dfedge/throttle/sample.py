"""Reading the host: psutil, PSI, and what sysfs adds. What is missing is absent; nonsense costs one log line."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import psutil

from dfedge.throttle.load import Battery, Cpu, Disk, Load, Memory, Pressure
from dfedge.throttle.traffic import Counter

SECTOR: Final = 512  # bytes, in the block layer's statistics on every disk
COLDEST, HOTTEST = -40.0, 150.0  # °C that a board can be
NO_SPEED: Final = 10_000_000  # Mbit/s: beyond, a driver says that it does not know
PRESSURES: Final = ("cpu", "io", "memory")
T = TypeVar("T")
log = logging.getLogger("dfedge.throttle")


class _Times(NamedTuple):
    """CPU seconds since boot."""

    at: float
    cores: tuple[tuple[float, float], ...]  # busy, all
    user: float  # not niced
    nice: float
    system: float  # with interrupts
    steal: float
    everything: float
    own_user: float
    own_system: float


class _DiskTimes(NamedTuple):
    at: float
    busy_ms: int
    queue_ms: int
    sectors: int
    own: int


class Sampler:
    """One host. The first sample has no shares and no rates, as they are differences."""

    def __init__(self, folder: Path, clock: Callable[[], float], root: Path = Path("/")) -> None:
        """`folder` lies on the disk that is watched; `root` is where /proc and /sys are."""
        self._clock = clock
        self._root = root
        self._net_dev = root / "proc/net/dev"
        self._disk = _disk_of(folder, root)
        self._cpu_before: _Times | None = None
        self._disk_before: _DiskTimes | None = None
        self._complained: set[str] = set()
        self._own_cgroup = _own_cgroup(root)
        self._last: Load | None = None

    @property
    def missing(self) -> list[str]:
        """What this host does not tell."""
        load = self._last or self.sample()  # shares are since the sample before: who only asks must not take one
        found: dict[str, object] = {"temperature": load.celsius, "battery": load.battery, "disk": self._disk}
        found |= {f"pressure {name}": load.pressure.get(name) for name in PRESSURES}
        return [name for name, value in found.items() if value is None]

    def counters(self) -> dict[str, Counter]:
        """The interfaces. Ten times a second, so not by psutil: it takes three times as long."""
        try:
            with self._net_dev.open("rb", buffering=0) as file:
                lines = file.readall().decode(errors="replace").splitlines()[2:]
        except OSError:
            return {}
        found = {}
        for line in lines:
            name, _, numbers = line.rpartition(":")
            bytes_down, packets_down, *_, bytes_up, packets_up = numbers.split()[:10]
            found[name.strip()] = Counter(int(bytes_up), int(bytes_down), int(packets_up), int(packets_down))
        return found

    def speeds(self) -> dict[str, float]:
        """What interfaces carry at most, in bytes/s, as far as the kernel knows: of wires, not of radio."""
        found = {}
        for path in (self._root / "sys/class/net").glob("*/speed"):
            with suppress(OSError, ValueError):  # radio, and a link that is down
                mbit = int(path.read_text(encoding="ascii"))
                if 0 < mbit < NO_SPEED:
                    found[path.parent.name] = mbit * 1e6 / 8
        return found

    def sample(self) -> Load:
        """Everything but the interfaces."""
        self._last = Load(
            cpu=self._try("cpu", self._cpu),
            memory=self._try("memory", _memory),
            disk=self._try("disk", self._disk_load),
            celsius=self._try("temperature", self._celsius),
            battery=self._try("battery", _battery),
            pressure=self._pressures(),
        )
        return self._last

    def _try(self, name: str, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except (OSError, ValueError, IndexError, psutil.Error, AttributeError) as error:
            self._complain(name, str(error))
            return None

    def _complain(self, name: str, what: str) -> None:
        if name not in self._complained:
            self._complained.add(name)
            log.warning("sensor ignored sensor=%s value=%s", name, what)

    def _cpu(self) -> Cpu | None:
        cores = psutil.cpu_times(percpu=True)
        own = os.times()
        spent = [(sum(core) - core.idle - getattr(core, "iowait", 0.0), sum(core)) for core in cores]
        now = _Times(
            self._clock(),
            tuple(spent),
            sum(core.user for core in cores),
            sum(core.nice for core in cores),
            sum(core.system + getattr(core, "irq", 0.0) + getattr(core, "softirq", 0.0) for core in cores),
            sum(getattr(core, "steal", 0.0) for core in cores),
            sum(everything for _, everything in spent),
            own.user,
            own.system,
        )
        before, self._cpu_before = self._cpu_before, now
        return _cpu_between(before, now) if before is not None else None

    def _disk_load(self) -> Disk | None:
        if self._disk is None:
            return None
        fields = [int(word) for word in (self._disk / "stat").read_text(encoding="ascii").split()]
        io = dict(line.split(": ") for line in (self._root / "proc/self/io").read_text(encoding="ascii").splitlines())
        own = int(io["read_bytes"]) + int(io["write_bytes"])
        now = _DiskTimes(self._clock(), fields[9], fields[10], fields[2] + fields[6], own)
        before, self._disk_before = self._disk_before, now
        if before is None or now.at <= before.at:
            return None
        seconds = now.at - before.at
        moved = (now.sectors - before.sectors) * SECTOR / seconds
        ours = (now.own - before.own) / seconds
        busy = min(1.0, (now.busy_ms - before.busy_ms) / 1000 / seconds)
        queue = (now.queue_ms - before.queue_ms) / 1000 / seconds
        return Disk(busy, queue, min(ours, moved), max(0.0, moved - ours))

    def _celsius(self) -> float | None:
        found = [int(path.read_text(encoding="ascii")) / 1000 for path in self._zones()]
        if not found:
            found = [sensor.current for sensors in psutil.sensors_temperatures().values() for sensor in sensors]
        good = [value for value in found if COLDEST <= value <= HOTTEST]
        if len(good) < len(found):
            self._complain("temperature", f"{next(value for value in found if value not in good):g} °C")
        return max(good, default=None)

    def _zones(self) -> list[Path]:
        return sorted((self._root / "sys/class/thermal").glob("thermal_zone*/temp"))

    def _pressures(self) -> dict[str, Pressure]:
        found = {}
        for name in PRESSURES:
            pressure = self._try(f"pressure {name}", lambda name=name: self._pressure(name))  # type: ignore[misc]
            if pressure is not None:
                found[name] = pressure
        return found

    def _pressure(self, name: str) -> Pressure | None:
        """Others' waiting: the host's less our own, where a control group of our own tells it; else mixed."""
        try:
            host = _read_pressure(self._root / "proc/pressure" / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == 95:  # EOPNOTSUPP: the kernel can, and is told not to
                return None
            raise
        if not (0 <= host.some <= 100 and 0 <= host.full <= 100):
            raise ValueError(f"{host.some:g} %")
        mixed = Pressure(host.some, host.full, is_mixed=True)
        if self._own_cgroup is None:
            return mixed
        try:
            own = _read_pressure(self._own_cgroup / f"{name}.pressure")
        except (OSError, ValueError):
            return mixed
        return Pressure(max(0.0, host.some - own.some), max(0.0, host.full - own.full))


def _cpu_between(before: _Times, now: _Times) -> Cpu | None:
    everything = now.everything - before.everything
    if everything <= 0:
        return None
    own_user, own_system = now.own_user - before.own_user, now.own_system - before.own_system
    user, nice = now.user - before.user, now.nice - before.nice
    system = max(0.0, now.system - before.system - own_system)
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        nice = max(0.0, nice - own_user)
    else:
        user = max(0.0, user - own_user)
    above = user / (user + nice) if user + nice > 0 else 0.0  # of the system's work nobody says whose it is
    return Cpu(
        own=min(1.0, (own_user + own_system) / everything),
        others=min(1.0, (user + system * above) / everything),
        steal=min(1.0, (now.steal - before.steal) / everything),
        cores=tuple(
            max(0.0, min(1.0, (busy - busy0) / (all_ - all0))) if all_ > all0 else 0.0
            for (busy0, all0), (busy, all_) in zip(before.cores, now.cores, strict=False)
        ),
    )


def _memory() -> Memory:
    memory = psutil.virtual_memory()
    return Memory(memory.total, memory.available, psutil.swap_memory().used)


def _battery() -> Battery | None:
    battery = psutil.sensors_battery()
    if battery is None:
        return None
    if not 0 <= battery.percent <= 100:
        raise ValueError(f"{battery.percent:g} %")
    return Battery(battery.percent / 100, battery.power_plugged is False)


def _read_pressure(path: Path) -> Pressure:
    """Raises OSError, ValueError."""
    shares = {"some": 0.0, "full": 0.0}
    for line in path.read_text(encoding="ascii").splitlines():
        kind, average, *_ = line.split()
        shares[kind] = float(average.partition("=")[2])
    return Pressure(shares["some"], shares["full"])


def _disk_of(folder: Path, root: Path) -> Path | None:
    """The block device under a folder; None where there is none, as for overlays and tmpfs."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return None
    path = root / "sys/dev/block" / f"{os.major(device)}:{os.minor(device)}"
    return path if (path / "stat").exists() else None


def _own_cgroup(root: Path) -> Path | None:
    """Our control group, if nobody else is in it."""
    try:
        line = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1]
        folder = root / "sys/fs/cgroup" / line.rpartition(":")[2].lstrip("/")
        members = (folder / "cgroup.procs").read_text(encoding="ascii").split()
    except (OSError, IndexError):
        return None
    return folder if members == [str(os.getpid())] and folder != root / "sys/fs/cgroup" else None
