"""What flags and words of a command may hold, read once, with the rule in the complaint."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dfedge.core.image.name import Ref, check_name, check_version
from dfedge.core.units import parse_duration, parse_rate

T = TypeVar("T")


def telling(read: Callable[[str], T]) -> Callable[[str], T]:
    """Make `read`'s ValueError the complaint that argparse shows."""

    def wrapped(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return wrapped


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals or not text.isprintable():
        raise ValueError(f'"{text}" is not a label; write one as in "site=hall-2"')
    return key, value


def _rate(text: str) -> int:
    rate = parse_rate(text)
    if not rate:
        raise ValueError("0 lets nothing pass; to stop for a while: dfedge throttle pause")
    return rate


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise ValueError(f'"{text}" is not a SHA-256 in hex; sha256sum prints one')
    return text.lower()


ref = telling(Ref.parse)
image_name = telling(check_name)
version = telling(check_version)
seconds = telling(parse_duration)
rate = telling(_rate)
label = telling(_label)
sha256 = telling(_sha256)


def add_ref(parser: ArgumentParser, *, optional: bool = False) -> None:
    """REF: which image."""
    about = "name, name:version or sha256:DIGITS"
    if optional:
        parser.add_argument("ref", type=ref, metavar="REF", nargs="?", help=about)
    else:
        parser.add_argument("ref", type=ref, metavar="REF", help=about)


def add_dry_run(parser: ArgumentParser) -> None:
    """--dry-run: say what would be done."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def add_fleet(parser: ArgumentParser) -> None:
    """--fleet: which operator's folder."""
    parser.add_argument("--fleet", type=Path, metavar="DIR", help="the operator's folder (default: $DFEDGE_FLEET)")
