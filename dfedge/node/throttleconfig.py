"""What stands in [throttle]: how its words are checked, and what the throttle is told of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from ipaddress import ip_network
from pathlib import Path
from socket import if_nameindex
from typing import Any

from dfedge.throttle.orders import Orders
from dfedge.throttle.policy import Caps, Policy, Profile
from dfedge.throttle.quota import Allotment
from dfedge.throttle.timetable import parse_window


@dataclass(frozen=True, slots=True)
class ThrottleConfig:
    """[throttle]"""

    enabled: bool
    orders: Orders


def check_profile(text: str) -> str:
    """A profile by its name. Raises ValueError."""
    names = [profile.value for profile in Profile]
    if text not in names:
        raise ValueError(f'"{text}" is no profile; write one of {", ".join(names)}')
    return text


def check_prefix(text: str) -> str:
    """A network, in its usual spelling. Raises ValueError."""
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f'"{text}" is not a network; write one as in "10.0.0.0/8"') from None


def check_window(text: str) -> str:
    """A window of the week, as it was written. Raises ValueError."""
    return parse_window(text).text


def check_zone(text: str) -> str:
    """A time zone that this host knows. Raises ValueError."""
    from zoneinfo import ZoneInfo, available_timezones  # no command should wait for it that has no zone

    try:
        return ZoneInfo(text).key
    except (ValueError, OSError, KeyError):  # a zone that is not known is a KeyError
        known = "" if available_timezones() else "; this host knows none: install tzdata"
        raise ValueError(f'"{text}" is no time zone; write one as in "Europe/Berlin"{known}') from None


def _zone_of(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def check_interface(text: str) -> str:
    """A network interface that this host has. Raises ValueError."""
    if text not in (names := [name for _, name in if_nameindex()]):
        raise ValueError(f'"{text}" is no interface of this host; it has {", ".join(sorted(names))}')
    return text


def check_battery_action(text: str) -> str:
    """What a low battery does. Raises ValueError."""
    if text not in ("slow", "pause"):
        raise ValueError(f'"{text}" is neither slow nor pause')
    return text


def throttle_config(values: Mapping[str, Any]) -> ThrottleConfig:
    """Put together what the settings, by `section.key`, say of the throttle."""
    told = {key.removeprefix("throttle."): value for key, value in values.items() if key.startswith("throttle.")}
    (up, link_up), (down, link_down) = _cap(told["max_up"]), _cap(told["max_down"])
    policy = Policy(
        profile=Profile(told["profile"]),
        host=Caps(up, down),
        lan=Caps(told["lan_max_up"], told["lan_max_down"]),
        uplink=Caps(told["uplink_max_up"], told["uplink_max_down"]),
        floor=told["floor"],
        lan_prefixes=told["lan_prefixes"],
        cpu=told["cpu"] / 100,
        memory=told["memory"] / 100,
        celsius=told["celsius"],
        battery=told["battery"] / 100,
        pressure_io=told["pressure_io"],
        pressure_memory=told["pressure_memory"],
        link_up=link_up,
        link_down=link_down,
        metered=told["metered"],
        battery_pauses=told["battery_action"] == "pause",
    )
    orders = Orders(
        policy,
        Path(told["hold_file"]) if told["hold_file"] else None,
        tuple(map(parse_window, told["windows"])),
        _zone_of(told["time_zone"]) if told["time_zone"] else None,
        Allotment(told["uplink_day"], told["uplink_month"]),
    )
    return ThrottleConfig(told["enabled"], orders)


def _cap(value: int | str | None) -> tuple[float | None, float | None]:
    """In bytes/s, or as a share of each link."""
    if isinstance(value, str):
        return None, int(value.rstrip(" %")) / 100
    return value, None
