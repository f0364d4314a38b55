"""dfedge service status and uninstall."""

import os
import sys
from argparse import Namespace
from contextlib import suppress

from dfedge.cli.output import Output
from dfedge.cli.serviceplace import judge_of, place_of
from dfedge.core.errors import Busy, NotFound, UsageError
from dfedge.core.units import duration
from dfedge.install import guard
from dfedge.install.place import Place
from dfedge.install.report import Report, report
from dfedge.install.trial import Judge, settle
from dfedge.install.uninstall import uninstall
from dfedge.install.version import Version, alone


def run(args: Namespace, out: Output) -> int:
    """Say how the installation is. A trial that nobody judges any more is ended, by who may."""
    place = place_of(args)
    judge = judge_of(place)
    settled = _settled(place, judge)
    found = report(place, judge)
    if found.installed is None and not found.unit:
        raise NotFound(f"{place.folder}: dfedge is not installed as a service", "dfedge service install")
    document = {
        "installed": _document(found.installed),
        "previous": _document(found.previous),
        "link": str(place.folder / guard.CURRENT),
        "trial": found.trial or None,
        "settled": settled or None,
        "unit": {"path": str(place.unit), "there": found.unit, "enabled": found.enabled, "state": found.state},
        "hooks": found.hooks,
        "agent": {"healthy": found.health.ok, "text": found.health.text, "uptime": found.health.up},
    }
    out.answer(document, _text(place, found))
    if settled:
        out.note(f"  {settled}")
    return 0


def _settled(place: Place, judge: Judge) -> str:
    if guard.read_trial(place.folder) is None or not os.access(place.folder, os.W_OK):
        return ""
    with suppress(Busy), alone(place.folder):
        return settle(place, judge)
    return ""


def _document(version: Version | None) -> dict[str, str] | None:
    return {"id": version.id, "version": version.number, "path": str(version.file)} if version else None


def _text(place: Place, found: Report) -> str:
    installed = found.installed.label if found.installed else "not there"
    up = f", up {duration(found.health.up)}" if found.health.up else ""
    unit = f"{found.state}, {'enabled' if found.enabled else 'not enabled'}" if found.unit else "not there"
    lines = [
        f"dfedge {installed}",
        f"  before  {found.previous.label if found.previous else 'no other version is kept'}",
        f"  link    {place.folder / guard.CURRENT}{f' -> {found.installed.id}' if found.installed else ''}",
        f"  unit    {unit}   {place.unit}",
        f"  agent   {found.health.text}{up}",
    ]
    if found.hooks:
        lines.append(f"  hooks   run as root, from {place.hooks}")
    if found.trial:
        lines.append("  ! on trial: the one before comes back unless the agent is healthy with it")
    return "\n".join(lines)


def uninstall_(args: Namespace, out: Output) -> int:
    """Remove the service."""
    place = place_of(args)
    if args.purge and not args.dry_run and not args.yes:
        _ask(place, out)
    done = uninstall(place, judge_of(place).system, purge=args.purge, dry_run=args.dry_run)
    would = "would " if args.dry_run else "done: "
    lines = [f"  {would}{step}" for step in done]
    head = f"dfedge {'would be' if args.dry_run else 'is'} removed" if done else "nothing is installed there"
    out.answer({"steps": done, "purge": args.purge, "dry_run": args.dry_run}, "\n".join([head, *lines]))
    if done and not args.purge and place.state.exists():
        out.note(f"  {place.state} stays, with the node's key and its images; --purge removes it")
    return 0


def _ask(place: Place, out: Output) -> None:
    """Raises UsageError without a yes."""
    what = f"{place.state}: --purge removes the node's key and all its images"
    if out.json or not sys.stdin.isatty():
        raise UsageError(f"{what}; say --yes", "dfedge service uninstall --purge --yes")
    out.stderr.write(f"{what}. Remove them? [y/N] ")
    out.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(f"{place.state}: kept, as the answer was not yes")
