"""What a setting may be: how it is read from TOML and from a text, with a complaint that says how to write it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dfedge.core.units import parse_duration, parse_rate, parse_size


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting may be. Both readers raise ValueError that says how to write it."""

    read: Callable[[object], object]  # a value as TOML gives it
    read_text: Callable[[str], object]  # the same from an environment variable


def _flag(value: object) -> object:
    if type(value) is not bool:
        raise ValueError(f"{shown(value)} is not true or false")
    return value


def _flag_text(text: str) -> object:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f'"{text}" is not true or false')
    return words[text.lower()]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{shown(value)} is not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f'{shown(value)} is not a list; write one as in ["a", "b"]')
    return tuple(_text(item) for item in value)


def _texts_text(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def whole_number(lowest: int, highest: int) -> Kind:
    """A whole number from `lowest` to `highest`."""

    def read(value: object) -> object:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"{shown(value)} is not a whole number from {lowest:,} to {highest:,}")
        return value

    def read_text(text: str) -> object:
        return read(int(text) if text.isascii() and text.isdigit() else text)

    return Kind(read, read_text)


def percent(lowest: int, highest: int) -> Kind:
    """A whole number of per cent, with the sign or without."""
    number = whole_number(lowest, highest)

    def read_text(text: str) -> object:
        return number.read_text(text.removesuffix("%").strip())

    return Kind(lambda value: read_text(value) if isinstance(value, str) else number.read(value), read_text)


def _measure(parse: Callable[[str], object], what: str, *, bare: bool) -> Kind:
    """A quantity with its unit in a text; where a `bare` number has a plain meaning (bytes, seconds), that too."""

    def read(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if bare and type(value) is int and value >= 0:
            return parse(str(value))
        raise ValueError(f"{shown(value)} is not {what}")

    return Kind(read, parse)


def _above_nothing(kind: Kind) -> Kind:
    def check(value: object) -> object:
        if not value:
            raise ValueError('0 lets nothing pass; to stop for a while: "dfedge throttle pause"')
        return value

    return Kind(lambda value: check(kind.read(value)), lambda text: check(kind.read_text(text)))


def checked(kind: Kind, check: Callable[[str], object]) -> Kind:
    """`kind`, a text or a list of texts, each put through `check`, whose result is the value."""

    def apply(value: object) -> object:
        return tuple(check(item) for item in value) if isinstance(value, tuple) else check(str(value))

    return Kind(lambda value: apply(kind.read(value)), lambda text: apply(kind.read_text(text)))


def or_off(kind: Kind, check: Callable[[float], object] = lambda value: value) -> Kind:
    """`kind`, a duration put through `check`, or "off", whose value is none."""

    def apply(value: object) -> object:
        return check(value) if isinstance(value, float) else value

    return Kind(
        lambda value: None if value is False or value == "off" else apply(kind.read(value)),
        lambda text: None if text.strip().lower() == "off" else apply(kind.read_text(text)),
    )


def _or_share(kind: Kind) -> Kind:
    """`kind`, or per cent of each link's speed, which stay a text: "50 %"."""

    def share(text: str) -> str | None:
        number = text.strip().removesuffix("%").rstrip()
        if number == text.strip():
            return None
        return f"{PERCENT.read_text(number)} %"

    return Kind(
        lambda value: (share(value) if isinstance(value, str) else None) or kind.read(value),
        lambda text: share(text) or kind.read_text(text),
    )


def separated(kind: Kind, by: str) -> Kind:
    """`kind`, a list of texts, whose items stand apart by `by` where all of it is one text."""

    def read_text(text: str) -> object:
        return kind.read([item.strip() for item in text.split(by) if item.strip()])

    return Kind(kind.read, read_text)


FLAG: Final = Kind(_flag, _flag_text)
TEXT: Final = Kind(_text, _text)
TEXTS: Final = Kind(_texts, _texts_text)
PERCENT: Final = percent(1, 100)
SIZE: Final = _measure(parse_size, 'a size; write one as in "10 GiB"', bare=True)
RATE: Final = _measure(parse_rate, 'a rate; write a size per second, as in "10 MB/s" or "50 Mbit/s"', bare=False)
CAP: Final = _above_nothing(RATE)
CAP_OR_SHARE: Final = _or_share(CAP)
DURATION: Final = _measure(parse_duration, 'a duration; write one as in "10m" or "1h 30m"', bare=True)


def shown(value: object) -> str:
    """A value as a user would write it, cut to what fits a line."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
