"""What the parsers take, as a list: each command with its options and its words."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dfedge.cli.commands import COMMANDS
from dfedge.cli.parser import Parser, build_parser

PATHS: Final = ("FILE", "DIR", "PATH", "FILE.pub", "REF|FILE")


@dataclass(frozen=True, slots=True)
class Option:
    """A flag in all its spellings; `value` is what follows it, empty for none."""

    flags: tuple[str, ...]
    value: str
    text: str

    @property
    def takes_path(self) -> bool:
        """Whether a file or folder follows."""
        return self.value in PATHS


@dataclass(frozen=True, slots=True)
class Word:
    """A word that a command takes."""

    name: str
    text: str
    needed: bool

    @property
    def is_path(self) -> bool:
        """Whether it is a file or folder."""
        return self.name in PATHS


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a command of a command: `("fleet", "enroll")`. The first of all has no name."""

    path: tuple[str, ...]
    summary: str
    example: str
    options: tuple[Option, ...]
    words: tuple[Word, ...]
    inner: tuple[tuple[str, str], ...]  # the commands within, each with its summary

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(self.path)


GLOBALS: Final = (
    Option(("--json",), "", "one JSON document, or JSON lines where it takes long"),
    Option(("-q", "--quiet"), "", "neither hints nor progress"),
    Option(("-v", "--verbose"), "", "say more; twice, yet more"),
    Option(("--state-dir",), "DIR", "where the node's state is (default: $DFEDGE_STATE_DIR, else /var/lib/dfedge)"),
    Option(("--config",), "FILE", "the settings (default: $DFEDGE_CONFIG, else /etc/dfedge/dfedge.toml)"),
)


def commands() -> list[Command]:
    """The whole grammar: first dfedge itself, then each command before the commands within it."""
    parser = build_parser()
    unknown = _hidden(parser) - {flag for option in GLOBALS for flag in option.flags}
    if unknown:
        raise ValueError(f"no text for the global options {sorted(unknown)}")
    return list(_walk(parser, (), "carries images to every node of an edge fleet, from node to node"))


def _hidden(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions if action.help == argparse.SUPPRESS for flag in action.option_strings}


def _walk(parser: argparse.ArgumentParser, path: tuple[str, ...], summary: str) -> Iterator[Command]:
    within: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    options, words = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                within[name] = (COMMANDS[name].summary if not path else told[name], inner)
        elif action.option_strings and action.help != argparse.SUPPRESS:
            options.append(Option(tuple(action.option_strings), _value(action), action.help or ""))
        elif not action.option_strings:
            words.append(Word(_value(action), action.help or "", action.nargs not in ("?", "*")))
    example = parser.example if isinstance(parser, Parser) else ""
    inner_names = tuple((name, text) for name, (text, _) in within.items())
    yield Command(path, summary, example, tuple(options), tuple(words), inner_names)
    for name, (text, inner) in within.items():
        yield from _walk(inner, (*path, name), text)


def _value(action: argparse.Action) -> str:
    if action.option_strings and action.nargs == 0:
        return ""
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar) if action.metavar else action.dest.upper()
