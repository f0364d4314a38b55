"""Windows of the week with settings of their own, on the clock of a time zone. Pure: the wall's time comes in.

A window is read off the clock on the wall: where summer time begins, an hour that is skipped has no window; where it
ends, an hour that comes twice has it twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Final

from dfedge.core.units import parse_rate
from dfedge.throttle.policy import Policy, Profile

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SETTING: Final = "throttle.windows"
EXAMPLE: Final = 'write one as in "mon-fri 08:00-18:00: max_down 5 Mbit/s"'
CAPS: Final = {
    f"{where}max_{way}": (kind, way)
    for where, kind in (("", "host"), ("lan_", "lan"), ("uplink_", "uplink"))
    for way in ("up", "down")
}
_WINDOW: Final = re.compile(r"(?:([a-z,-]+)\s+)?(\d{1,2}:\d\d)-(\d{1,2}:\d\d)\s*:\s*(\S.*)")
_DAY: Final = 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class Window:
    """What changes between two times of some days."""

    text: str
    days: frozenset[int]  # 0 is Monday
    start: int  # minutes after midnight
    end: int  # the first minute that is not in it
    pause: bool = False
    profile: Profile | None = None
    caps: tuple[tuple[str, str, float], ...] = ()  # host, lan or uplink; up or down; bytes/s

    @property
    def when(self) -> str:
        """The days and times, as written."""
        match = _WINDOW.fullmatch(self.text)
        return self.text if match is None else self.text[: match.start(4)].rstrip(" :")

    def holds(self, wall: datetime) -> bool:
        """Whether it is that time, by the clock on the wall."""
        return wall.weekday() in self.days and self.start <= wall.hour * 60 + wall.minute < self.end

    def over(self, policy: Policy) -> Policy:
        """The policy with what this window changes."""
        if self.profile is not None:
            policy = replace(policy, profile=self.profile)
        for kind, way, rate in self.caps:
            if kind == "host":
                policy = replace(policy, host=policy.host.but(way, rate, SETTING))
            elif kind == "lan":
                policy = replace(policy, lan=policy.lan.but(way, rate, SETTING))
            else:
                policy = replace(policy, uplink=policy.uplink.but(way, rate, SETTING))
        if self.pause:
            policy = replace(policy, paused=self.when, paused_by=SETTING)
        return policy


def parse_window(text: str) -> Window:
    """Read `DAYS HH:MM-HH:MM: SETTING VALUE, …`. Raises ValueError that says how to write one."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a window; {EXAMPLE}')
    start, end = _minutes(match[2]), _minutes(match[3])
    if start >= end:
        raise ValueError(f'"{text}" ends before it starts; write two, as in "22:00-24:00: …" and "00:00-06:00: …"')
    window = Window(text.strip(), _days(match[1]), start, end)
    for word in match[4].split(","):
        window = _with(window, word.strip())
    return window


def _with(window: Window, change: str) -> Window:
    name, _, value = change.partition(" ")
    if change == "pause":
        return replace(window, pause=True)
    if name == "profile" and value.strip() in [profile.value for profile in Profile]:
        return replace(window, profile=Profile(value.strip()))
    if name in CAPS:
        rate = parse_rate(value)
        if not rate:
            raise ValueError(f'"{change}" lets nothing pass; write "pause"')
        return replace(window, caps=(*window.caps, (*CAPS[name], float(rate))))
    raise ValueError(f'"{change}" can\'t stand in a window; {", ".join([*CAPS, "profile"])} with a value, or "pause"')


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if int(minutes) > 59 or (at := int(hours) * 60 + int(minutes)) > _DAY:
        raise ValueError(f'"{text}" is not a time of the day; write one from 00:00 to 24:00')
    return at


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f'"{text}" are no days; write them as in "mon-fri" or "sat,sun"')
        start = DAYS.index(first)
        for day in range(7):
            found.add((start + day) % 7)
            if DAYS[(start + day) % 7] == (last or first):
                break
    return frozenset(found)


def in_force(windows: Iterable[Window], wall: datetime) -> list[Window]:
    """Those that hold now; of two that change the same the later counts."""
    return [window for window in windows if window.holds(wall)]


def wall_time(seconds: float, zone: tzinfo | None) -> datetime:
    """The clock on the wall of a zone (none: of this host) at a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone)
