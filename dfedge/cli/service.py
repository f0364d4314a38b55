"""dfedge service: this file as a service of systemd: install, update, look, remove; and the host's hooks as root."""

import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dfedge.cli.argument import add_dry_run, add_ref, sha256
from dfedge.cli.output import Output
from dfedge.cli.parser import Subcommands
from dfedge.core.errors import UsageError
from dfedge.install.place import HOOKS, Place

if TYPE_CHECKING:
    from dfedge.install.steps import Done

EXAMPLE: Final = "dfedge service install"


def arguments(parser: ArgumentParser) -> None:
    """Which of the five."""
    parser.add_argument("--print-unit", action=_PrintUnit, nargs=0, help="print the unit that install writes, and end")
    commands = Subcommands(parser)
    install = commands.add("install", "install dfedge as a service, or what is missing of it", EXAMPLE)
    install.add_argument("--from", type=Path, dest="source", metavar="FILE", help="a dfedge.pyz (default: this one)")
    install.add_argument("--python", type=Path, metavar="PATH", help="what runs it (default: /usr/bin/python3)")
    install.add_argument("--hooks", action="store_true", help="let root run the hooks in /etc/dfedge/hooks, when asked")
    install.add_argument("--no-start", action="store_true", help="do not start the agent, or anew")
    install.add_argument("--print-unit", action="store_true", help="print the unit, and do nothing")
    update = commands.add("update", "change to another version, on trial", "dfedge service update dfedge:0.2.0")
    update.add_argument("what", metavar="REF|FILE", help="an image with a dfedge.pyz, or the file; ./FILE is a file")
    for command in (install, update):
        command.add_argument("--sha256", type=sha256, metavar="HEX", help="refuse any other file")
    hook = commands.add("hook", "have a hook of this host run as root", "dfedge service hook install gateway-os:2.4.1")
    hook.add_argument("hook", choices=HOOKS, metavar="HOOK", help=", ".join(HOOKS))
    add_ref(hook)
    status = commands.add("status", "say what is installed and whether it runs", "dfedge service status --json")
    uninstall = commands.add("uninstall", "remove the service and its versions", "dfedge service uninstall --dry-run")
    uninstall.add_argument("--purge", action="store_true", help="the node's key, its images and its user too")
    uninstall.add_argument("--yes", action="store_true", help="do not ask")
    for command in (install, update, status, uninstall):
        command.add_argument("--user", action="store_true", help="for this user alone, under systemd --user")
    for command in (install, status, uninstall):
        command.add_argument("--root", type=Path, metavar="DIR", help="in the folder of an image that is being built")
    for command in (install, hook, uninstall):
        add_dry_run(command)


class _PrintUnit(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from dfedge.install.unit import unit_text

        sys.stdout.write(unit_text(Place.of_system()))
        parser.exit()


def run(args: Namespace, out: Output) -> int:
    """Do one of the five."""
    from dfedge.cli import servicehook, servicelook, serviceupdate

    doers = {
        "install": _install,
        "hook": servicehook.run,
        "update": serviceupdate.run,
        "status": servicelook.run,
        "uninstall": servicelook.uninstall_,
    }
    return doers[args.subcommand](args, out)


def _install(args: Namespace, out: Output) -> int:
    from dfedge.cli.serviceplace import judge_of, own_file, place_of
    from dfedge.install.install import install
    from dfedge.install.unit import PYTHON

    place, python = place_of(args), args.python or PYTHON
    if args.hooks and place.user:
        raise UsageError("service install: --hooks runs them as root, and --user has no root", "dfedge service --help")
    if args.print_unit:
        return _print_unit(place, python, out, hooks=args.hooks)
    done = install(
        place,
        args.source or own_file(),
        python,
        judge_of(place),
        start=not args.no_start,
        hooks=args.hooks,
        dry_run=args.dry_run,
        expected=args.sha256 or "",
    )
    say_done(done, out, dry_run=args.dry_run)
    return 0


def _print_unit(place: Place, python: Path, out: Output, *, hooks: bool) -> int:
    from dfedge.install.hookunit import hook_units
    from dfedge.install.unit import unit_text

    text, units = unit_text(place, python), hook_units(place, python) if hooks else {}
    document = {"unit": text, "path": str(place.unit), "hooks": {str(path): unit for path, unit in units.items()}}
    printed = [text, *(f"# {path}\n{unit}" for path, unit in units.items())]
    out.answer(document, "\n".join(printed).rstrip("\n"))
    return 0


def say_done(done: "Done", out: Output, *, dry_run: bool) -> None:
    """What came of an install or update: its steps, then what holds now."""
    document = {
        "id": done.version.id,
        "version": done.version.number,
        "path": str(done.version.file),
        "previous": done.previous.id if done.previous else None,
        "steps": done.steps,
        "notes": done.notes,
        "started": done.started,
        "judged": done.judged,
        "dry_run": dry_run,
    }
    would = "would " if dry_run else "done: "
    lines: Sequence[str] = [f"  {would}{step}" for step in done.steps]
    verb = "would be" if dry_run else "is"
    state = f"{verb} installed" if done.steps else "was installed before, nothing is missing"
    judged = ", and the agent is healthy with it" if done.judged else ""
    out.answer(document, "\n".join([f"dfedge {done.version.label} {state}{judged}", *lines]))
    for note in done.notes:
        out.note(f"  {note}")
