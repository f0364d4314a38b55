"""What the numbers on a script's command line may be: a wrong one is told with what would do, before anything runs."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from math import inf
from typing import TypeVar

T = TypeVar("T")


def number(least: float, most: float = inf) -> Callable[[str], float]:
    """A finite number in these bounds, for argparse's `type`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"{text} is no number") from None
        if not least <= value <= most or value == inf:
            raise ArgumentTypeError(f"{text}; {_bounds(least, most)} is possible")
        return value

    return read


def whole(least: int = 1, most: float = inf) -> Callable[[str], int]:
    """A whole number in these bounds, for argparse's `type`."""

    def read(text: str) -> int:
        if not text.isdecimal():
            raise ArgumentTypeError(f"{text} is no whole number")
        if not least <= int(text) <= most:
            raise ArgumentTypeError(f"{text}; {_bounds(least, most)} is possible")
        return int(text)

    return read


def list_of(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Several with commas between, each of that kind."""
    return lambda text: [kind(word) for word in text.split(",")]


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A name among these."""

    def read(text: str) -> str:
        if text not in known:
            raise ArgumentTypeError(f"unknown: {text}; there are {', '.join(known)}")
        return text

    return read


def _bounds(least: float, most: float) -> str:
    return f"at least {least:g}" if most == inf else f"{least:g} to {most:g}"
