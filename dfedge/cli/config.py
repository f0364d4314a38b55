"""dfedge config: the settings, each with where it came from; and whether a settings file is right."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from dfedge.cli.output import Output
from dfedge.cli.parser import Subcommands
from dfedge.cli.reach import config_of
from dfedge.core.errors import UsageError
from dfedge.core.units import duration, line_rate, size
from dfedge.node.config import CONFIG_FILE, SETTINGS, Config, find, load
from dfedge.node.kind import CAP, CAP_OR_SHARE, PERCENT, RATE, SIZE
from dfedge.node.sense import doubts

EXAMPLE: Final = "dfedge config show"


def arguments(parser: ArgumentParser) -> None:
    """show or check."""
    commands = Subcommands(parser)
    commands.add("show", "print every setting with its source", "dfedge config show --json")
    check = commands.add("check", "find what is wrong in the settings", "dfedge config check ./dfedge.toml")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="another settings file than the usual one")


def run(args: Namespace, out: Output) -> int:
    """Show or check."""
    return _check(args, out) if args.subcommand == "check" else _show(args, out)


def _show(args: Namespace, out: Output) -> int:
    config = config_of(args)
    values = {**_folders(config), **config.values}
    settings = {key: {"value": _plain(value), "source": config.sources[key]} for key, value in values.items()}
    rows = [[key, shown(key, value), config.sources[key]] for key, value in values.items()]
    if out.verbose:
        rows = [[*row, SETTINGS[row[0]].doc if row[0] in SETTINGS else ""] for row in rows]
        out.answer({"settings": settings}, out.table(["SETTING", "VALUE", "SOURCE", "MEANING"], rows))
    else:
        out.answer({"settings": settings}, out.table(["SETTING", "VALUE", "SOURCE"], rows))
    return 0


def _folders(config: Config) -> dict[str, object]:
    return {"state_dir": config.state_dir, "runtime_dir": config.runtime_dir, "fleet_dir": config.fleet_dir}


def _plain(value: object) -> object:
    """A value as a document has it: sizes in bytes, rates in bytes/s, durations in seconds."""
    match value:
        case (str(host), int(port)):
            return f"{host}:{port}"
        case Path():
            return str(value)
        case _:
            return value


def shown(key: str, value: object) -> str:
    """A value as people write it."""
    kind = SETTINGS[key].kind if key in SETTINGS else None
    match value:
        case int() if kind is SIZE:
            return size(value)
        case int() if kind is PERCENT:
            return f"{value} %"
        case int() if kind in (RATE, CAP, CAP_OR_SHARE):
            return line_rate(value)
        case float():
            return duration(value)
        case None | ():
            return "-"
        case bool():
            return str(value).lower()
        case (str(host), int(port)):
            return f"{host or '*'}:{port}"
        case tuple():
            return " ".join(str(item) for item in value)
        case _:
            return str(value)


def _check(args: Namespace, out: Output) -> int:
    variable = os.environ.get("DFEDGE_CONFIG")
    file = args.file or args.config or (Path(variable) if variable else None)
    _, errors = find(file, os.environ)
    if not errors:
        doubtful = doubts(load(state_dir=args.state_dir, config_file=file))
        for doubt in doubtful:
            out.warn(doubt)
        wrong = "nothing is wrong" if not doubtful else "nothing is wrong but what this host can't keep"
        out.answer({"ok": True, "errors": [], "warnings": doubtful}, f"{file or CONFIG_FILE}: {wrong}")
        return 0
    for error in errors[:-1]:
        out.warn(str(error))
    raise UsageError(str(errors[-1]), errors[-1].hint)
