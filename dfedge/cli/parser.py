"""The command line's grammar: global flags anywhere, one command, its own flags. Wrong words are a UsageError."""

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from dfedge import __version__
from dfedge.cli.commands import COMMANDS
from dfedge.core.errors import UsageError

GLOBALS: Final = "anywhere: --json  -q --quiet  -v --verbose  --state-dir DIR  --config FILE"
_NEGATIVE: Final = re.compile(r"-\.?\d")  # argparse takes what has a unit for a flag
_WITH_VALUE: Final = ("--state-dir", "--config")


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving, and whose help starts with an example and fits a screen."""

    def __init__(self, *, prog: str, example: str = "", add_help: bool = True, color: bool = False) -> None:
        """`color` is what Python 3.14 hands to the parser of a command; ours print the same everywhere."""
        super().__init__(
            prog=prog,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
        )
        self.color = color
        self._negative_number_matcher = _NEGATIVE  # so that what reads -3MB/s refuses it, by its rule
        self.example = example
        _add_globals(self)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.subject}: {message}", f"{self.prog} --help")

    @property
    def subject(self) -> str:
        """The command as errors name it."""
        return self.prog.removeprefix("dfedge ")

    def format_help(self) -> str:
        positionals = [
            f"[{name}]" if action.nargs in ("?", "*") else name
            for action in self._get_positional_actions()
            for name in [str(action.metavar or action.dest).upper()]
        ]
        self.usage = " ".join([self.prog, "[options]", *positionals])
        example = f"example: {self.example}\n\n" if self.example else ""
        return f"{example}{super().format_help()}\n{GLOBALS}\n"


class Subcommands:
    """The commands of a command, such as `fleet enroll`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._prog = parser.prog
        self._action = parser.add_subparsers(dest="subcommand", metavar="command", required=True, parser_class=Parser)

    def add(self, name: str, summary: str, example: str) -> Parser:
        """Add one; what it takes is added to the parser that comes back."""
        parser = self._action.add_parser(name, prog=f"{self._prog} {name}", help=summary, example=example)
        parser.set_defaults(parser=parser)
        return parser


def build_parser(only: str | None = None) -> Parser:
    """The whole grammar, or that of one command, whose module alone is loaded then."""
    parser = Parser(prog="dfedge")
    parser.add_argument("--version", action="version", version=f"dfedge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
    for name, entry in COMMANDS.items():
        if only in (None, name):
            module = entry.load()
            command = commands.add_parser(name, prog=f"dfedge {name}", example=module.EXAMPLE)
            command.set_defaults(run=module.run, parser=command)
            module.arguments(command)
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line. Raises UsageError with the nearest command or flag; --help and --version leave."""
    name = _command(words)
    if name is None:
        return build_parser().parse_args(words)
    if name not in COMMANDS:
        raise UsageError(f"{name}: no such command{nearest(name, COMMANDS)}", "dfedge --help")
    args, rest = build_parser(name).parse_known_args(words)
    if rest:
        parser: Parser = args.parser
        flags = parser._option_string_actions if rest[0].startswith("-") else ()
        raise UsageError(
            f"{parser.subject}: {rest[0]} is not known here{nearest(rest[0], flags)}", f"{parser.prog} --help"
        )
    for attribute, default in (("state_dir", None), ("config", None), ("json", False), ("quiet", False)):
        if not hasattr(args, attribute):
            setattr(args, attribute, default)
    args.verbose = getattr(args, "verbose", 0)
    return args


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "get"?`, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def main_help() -> str:
    """`dfedge --help`, with no module loaded."""
    lines = ["example: dfedge get gateway:2.4.1 -o /srv/gateway.img", "usage: dfedge COMMAND [options]", ""]
    lines += [f"  {name:<8}  {entry.summary}" for name, entry in COMMANDS.items()]
    return "\n".join([*lines, "", "dfedge COMMAND --help says more; " + GLOBALS])


def _command(words: Sequence[str]) -> str | None:
    """The first word that is neither a global flag nor its value."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return word
    return None


def _add_globals(parser: argparse.ArgumentParser) -> None:
    """Defaults are suppressed: a flag before the command must not be forgotten by the command's own parser."""
    for flag in (("--json",), ("-q", "--quiet")):
        parser.add_argument(*flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="count", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for name in _WITH_VALUE:
        parser.add_argument(name, type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
