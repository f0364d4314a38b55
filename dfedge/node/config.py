"""How this node is set up: every setting with its value and where it came from.

A flag beats a `DFEDGE_*` variable, that beats the files (`dfedge.toml`, then `dfedge.toml.d/*.toml`), those beat the
defaults, with which every command works.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dfedge.core.errors import UsageError
from dfedge.core.image.name import check_name
from dfedge.core.units import host_port
from dfedge.node.configfile import Found, Setting, files, read_environment, read_file
from dfedge.node.kind import (
    CAP,
    CAP_OR_SHARE,
    DURATION,
    FLAG,
    PERCENT,
    SIZE,
    TEXT,
    TEXTS,
    checked,
    or_off,
    separated,
    whole_number,
)
from dfedge.node.sense import contradictions
from dfedge.node.throttleconfig import (
    ThrottleConfig,
    check_battery_action,
    check_interface,
    check_prefix,
    check_profile,
    check_window,
    check_zone,
    throttle_config,
)

DEFAULT_PORT: Final = 7411
CONFIG_FILE: Final = Path("/etc/dfedge/dfedge.toml")
MIB: Final = 1024 * 1024
DAY: Final = 86_400.0  # seconds
MIN_SCRUB: Final = 1.0  # seconds
MAX_SCRUB: Final = 3650 * DAY  # seconds

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PEER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]|[A-Za-z0-9_][A-Za-z0-9._-]*)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """[node]"""

    name: str | None
    listen: tuple[str, int]  # host ("" is every address) and port


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """[discovery]"""

    mdns: bool
    interfaces: tuple[str, ...]  # none means all
    peers: tuple[str, ...]  # `host:port`, `[v6%scope]:port`


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """[store]"""

    quota: int | None  # bytes
    keep_free: int  # bytes
    evict_from: int  # per cent of what it may hold
    evict_to: int
    scrub: float | None  # seconds in which everything is read again once


@dataclass(frozen=True, slots=True)
class ImportConfig:
    """[import]"""

    watch: tuple[Path, ...]  # folders whose bundles are taken in as they appear


@dataclass(frozen=True, slots=True)
class FollowConfig:
    """[follow]"""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """[hooks]"""

    install: tuple[str, ...]  # argv; empty means none
    health: tuple[str, ...]
    rollback: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """[trust]"""

    days: int  # how long certificates last that this operator issues


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a node is told. `sources` says for each `section.key` and folder where its value came from."""

    node: NodeConfig
    discovery: DiscoveryConfig
    store: StoreConfig
    throttle: ThrottleConfig
    imports: ImportConfig
    follow: FollowConfig
    hooks: HooksConfig
    trust: TrustConfig
    state_dir: Path
    runtime_dir: Path
    fleet_dir: Path
    config_file: Path
    values: Mapping[str, object]
    sources: Mapping[str, str]


def parse_listen(text: str) -> tuple[str, int]:
    """Read `PORT`, `HOST`, `HOST:PORT` or `[V6]:PORT`. Raises ValueError."""
    if text.isascii() and text.isdigit():
        text = f":{text}"
    if text.startswith(":") and text[1:].isdigit() and 0 < int(text[1:]) < 65536:
        return "", int(text[1:])
    match = _PEER.fullmatch(text)
    port = int(match[2] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f'"{text}" is not an address; write one as in "0.0.0.0:7411", "[::]:7411" or ":7411"')
    return match[1].strip("[]"), port


def _name(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f'"{text}" is not a node name; use a-z, 0-9 and -, at most 63, as in "kiosk-07"')
    return text


def _peer(text: str) -> str:
    host, port = parse_listen(text)
    if not host:
        raise ValueError(f'"{text}" names no host; write a peer as in "192.0.2.7:7411"')
    return host_port(host, port)


def _scrub(seconds: float) -> float:
    if not MIN_SCRUB <= seconds <= MAX_SCRUB:
        raise ValueError(f'{seconds:,.0f} s is not from 1 s to 10 years; write a duration as in "30d", or "off"')
    return seconds


def _folder(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f'"{text}" is not a whole path; write one as in "/media"')
    return text


def _hold_file(text: str) -> str:
    if not text.startswith("/") or Path(text).is_dir():
        raise ValueError(f'"{text}" is not the whole path of a file; write one as in "/run/app/hold"')
    return text


_ARGV: Final = TEXTS
_TABLE: Final = (
    Setting("node.name", checked(TEXT, _name), None, "what this node is called; none: what its enrolment says"),
    Setting("node.listen", checked(TEXT, parse_listen), ("", DEFAULT_PORT), "where peers reach us, host:port"),
    Setting("discovery.mdns", FLAG, True, "find peers by multicast on the LAN"),
    Setting("discovery.interfaces", TEXTS, (), "network interfaces to use; none: all"),
    Setting("discovery.peers", checked(TEXTS, _peer), (), "peers that multicast can't reach, host:port"),
    Setting("store.quota", SIZE, None, "the most bytes the store may hold; none: what the disk has"),
    Setting("store.keep_free", SIZE, 256 * MIB, "bytes of the disk that are never used"),
    Setting("store.evict_from", PERCENT, 95, "how full the store may be, of what it may hold, before images go"),
    Setting("store.evict_to", PERCENT, 85, "how full it is when no more need go"),
    Setting(
        "store.scrub", or_off(DURATION, _scrub), 30 * DAY, 'in what time all of the store is read again once, or "off"'
    ),
    Setting("throttle.enabled", FLAG, True, "stay out of the way of the node's own work"),
    Setting(
        "throttle.profile",
        checked(TEXT, check_profile),
        "background",
        "what a transfer may cost the host: background, balanced, full",
    ),
    Setting("throttle.max_up", CAP_OR_SHARE, None, "the most to send, per second, or per cent of each link"),
    Setting("throttle.max_down", CAP_OR_SHARE, None, "the most to receive, per second, or per cent of each link"),
    Setting("throttle.lan_max_up", CAP, None, "the most to send to peers on the LAN"),
    Setting("throttle.lan_max_down", CAP, None, "the most to receive from peers on the LAN"),
    Setting("throttle.uplink_max_up", CAP, None, "the most to send to peers behind a router"),
    Setting("throttle.uplink_max_down", CAP, None, "the most to receive from peers behind a router"),
    Setting(
        "throttle.lan_prefixes",
        checked(TEXTS, check_prefix),
        (),
        "networks that count as LAN behind a router too",
    ),
    Setting("throttle.floor", CAP, 62_500, "what load and other flows never take from us, per second"),
    Setting("throttle.cpu", PERCENT, 80, "per cent of the CPU in others' hands from which on we hold back"),
    Setting("throttle.memory", PERCENT, 5, "per cent of the memory below which we hold back"),
    Setting("throttle.celsius", whole_number(30, 120), 80, "degrees from which on we hold back"),
    Setting("throttle.battery", PERCENT, 20, "per cent of charge below which, discharging, we hold back"),
    Setting(
        "throttle.battery_action",
        checked(TEXT, check_battery_action),
        "slow",
        "what to do then: slow, or pause",
    ),
    Setting("throttle.pressure_io", PERCENT, 25, "per cent of time that programs wait for the disk, likewise"),
    Setting("throttle.pressure_memory", PERCENT, 10, "per cent of time that programs wait for memory, likewise"),
    Setting("throttle.hold_file", checked(TEXT, _hold_file), None, "while this file exists, nothing moves"),
    Setting(
        "throttle.windows",
        separated(checked(TEXTS, check_window), ";"),
        (),
        'times with settings of their own, as "mon-fri 08:00-18:00: max_down 5 Mbit/s"',
    ),
    Setting("throttle.time_zone", checked(TEXT, check_zone), None, "of windows, days and months; none: this host's"),
    Setting("throttle.uplink_day", SIZE, None, "the most bytes a day to and from peers behind a router"),
    Setting("throttle.uplink_month", SIZE, None, "the most bytes a month, likewise"),
    Setting("throttle.metered", checked(TEXTS, check_interface), (), "network interfaces that carry no images"),
    Setting("import.watch", checked(TEXTS, _folder), (), "folders whose bundles are taken in as they appear"),
    Setting("follow.channels", checked(TEXTS, check_name), (), "channels whose releases this node takes"),
    Setting("hooks.install", _ARGV, (), "program and arguments that install an image"),
    Setting("hooks.health", _ARGV, (), "program and arguments that judge the node after an install"),
    Setting("hooks.rollback", _ARGV, (), "program and arguments that go back to the image before"),
    Setting("hooks.timeout", DURATION, 600.0, "how long a hook may run"),
    Setting("trust.days", whole_number(1, 36500), 1095, "days that certificates we issue last"),
)
SETTINGS: Final = {setting.key: setting for setting in _TABLE}


def find(main: Path | None, environ: Mapping[str, str]) -> tuple[dict[str, Found], list[UsageError]]:
    """Gather what files and environment set, and everything wrong in them. `main` None means the usual file."""
    found: dict[str, Found] = {}
    errors: list[UsageError] = []
    if main is not None and not main.exists():
        errors.append(UsageError(f"{main}: no such settings file", "dfedge config show"))
    for path in files(main or CONFIG_FILE):
        values, wrong = read_file(path, SETTINGS)
        found |= values
        errors += wrong
    values, wrong = read_environment(environ, SETTINGS)
    found |= values
    defaults = {key: setting.default for key, setting in SETTINGS.items()}
    return found, [*errors, *wrong, *contradictions(found, defaults)]


def load(
    *,
    state_dir: Path | None = None,
    config_file: Path | None = None,
    fleet_dir: Path | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Put the settings together; arguments are the command line's flags, `flags` those named `section.key`.

    Raises UsageError for the first thing that is wrong.
    """
    environ = os.environ if environ is None else environ
    variable = environ.get("DFEDGE_CONFIG")
    main = config_file or (Path(variable) if variable else None)
    found, errors = find(main, environ)
    for key, text in (flags or {}).items():
        found[key] = Found(SETTINGS[key].kind.read_text(text), "flag")
    if errors:
        more = f"; {len(errors) - 1} more" if len(errors) > 1 else ""
        given = f" {shlex.quote(str(config_file))}" if config_file else ""
        raise UsageError(f"{errors[0]}{more}", f"dfedge config check{given}")
    values: dict[str, Any] = {key: setting.default for key, setting in SETTINGS.items()}
    values |= {key: item.value for key, item in found.items()}
    sources = {key: found[key].source if key in found else "default" for key in SETTINGS}
    state, sources["state_dir"] = _state_dir(state_dir, environ)
    runtime, sources["runtime_dir"] = _runtime_dir(state, environ)
    fleet, sources["fleet_dir"] = _fleet_dir(fleet_dir, environ)
    return Config(
        node=NodeConfig(values["node.name"], values["node.listen"]),
        discovery=DiscoveryConfig(values["discovery.mdns"], values["discovery.interfaces"], values["discovery.peers"]),
        store=StoreConfig(
            values["store.quota"],
            values["store.keep_free"],
            values["store.evict_from"],
            values["store.evict_to"],
            values["store.scrub"],
        ),
        throttle=throttle_config(values),
        imports=ImportConfig(tuple(map(Path, values["import.watch"]))),
        follow=FollowConfig(values["follow.channels"]),
        hooks=HooksConfig(
            values["hooks.install"], values["hooks.health"], values["hooks.rollback"], values["hooks.timeout"]
        ),
        trust=TrustConfig(values["trust.days"]),
        state_dir=state,
        runtime_dir=runtime,
        fleet_dir=fleet,
        config_file=main or CONFIG_FILE,
        values=values,
        sources=sources,
    )


def _default_state(environ: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/dfedge")
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "dfedge"


def _state_dir(flag: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    if flag is not None:
        return flag.absolute(), "flag"
    if environ.get("DFEDGE_STATE_DIR"):
        return Path(environ["DFEDGE_STATE_DIR"]).absolute(), "DFEDGE_STATE_DIR"
    return _default_state(environ), "default"


def _runtime_dir(state: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Two nodes on one machine, each with its own state folder, must not share a control socket."""
    if environ.get("DFEDGE_RUNTIME_DIR"):
        return Path(environ["DFEDGE_RUNTIME_DIR"]).absolute(), "DFEDGE_RUNTIME_DIR"
    if state != _default_state(environ):
        return state / "run", "state_dir"
    if os.geteuid() == 0:
        return Path("/run/dfedge"), "default"
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "dfedge", "XDG_RUNTIME_DIR"
    return state / "run", "state_dir"


def _fleet_dir(flag: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    if flag is not None:
        return flag.absolute(), "flag"
    if environ.get("DFEDGE_FLEET"):
        return Path(environ["DFEDGE_FLEET"]).absolute(), "DFEDGE_FLEET"
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / "dfedge" / "fleet", "default"


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    if environ.get(variable):
        return Path(environ[variable])
    home = environ.get("HOME")
    return (Path(home) if home else Path("/")) / below_home
