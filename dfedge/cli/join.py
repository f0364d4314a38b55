"""dfedge join: make this host a node of a fleet, from the enrolment folder its operator issued."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from dfedge.cli.argument import add_dry_run
from dfedge.cli.output import Output, utc
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.errors import AgentDown, UsageError

EXAMPLE: Final = "dfedge join ./kiosk-07"


def arguments(parser: ArgumentParser) -> None:
    """The folder, and where the key is if it is not in there."""
    parser.add_argument("dir", type=Path, nargs="?", metavar="DIR", help="the enrolment folder")
    parser.add_argument("--key", type=Path, metavar="FILE", help="this node's private key, where DIR holds none")
    parser.add_argument(
        "--make-key", action="store_true", help="instead: make this node's key, to be enrolled with --key"
    )
    parser.add_argument("--force", action="store_true", help="replace another identity or fleet of this node")
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Join, or make the key."""
    if args.make_key and not args.dir:
        return _make_key(args, out)
    if not args.dir or args.make_key:
        raise UsageError("join: give an enrolment folder, or --make-key alone", EXAMPLE)
    from dfedge.jobs.join import join

    config = config_of(args)
    joined = join(args.dir.absolute(), config.state_dir, args.key, force=args.force, dry_run=args.dry_run)
    document = {
        "id": joined.id,
        "name": joined.name,
        "fleet": joined.fleet,
        "fleet_name": joined.fleet_name,
        "labels": dict(joined.labels),
        "serial": joined.serial,
        "ends": utc(joined.ends),
        "renewed": joined.renewed,
        "state_dir": str(joined.state_dir),
        "dry_run": args.dry_run,
    }
    verb = "renewed" if joined.renewed else "joined"
    would = "would have " if args.dry_run else ""
    fleet = f"fleet {joined.fleet_name or joined.fleet}"
    out.answer(document, f"{would}{verb} {fleet} as {joined.name}  {joined.id}  until {utc(joined.ends)[:10]}")
    if not args.dry_run:
        _say_next(args, out)
    return 0


def _say_next(args: Namespace, out: Output) -> None:
    try:
        running_agent(config_of(args)).close()
    except AgentDown:
        out.note("  next: dfedge agent")
    else:
        out.note("  the agent that runs here takes it up when it is started anew")


def _make_key(args: Namespace, out: Output) -> int:
    from dfedge.jobs.join import make_key

    made = make_key(config_of(args).state_dir, dry_run=args.dry_run)
    document = {
        "id": made.id,
        "fingerprint": made.fingerprint,
        "public": str(made.public),
        "made": made.made,
        "dry_run": args.dry_run,
    }
    would = "would have " if args.dry_run else ""
    out.answer(document, f"{would}{'made' if made.made else 'kept'} the key of node {made.id}: {made.public}")
    out.note("  next, at the operator: dfedge fleet enroll NAME --key node_key.pub --out DIR")
    return 0
