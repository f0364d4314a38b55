"""dfedge fleet: the operator's side of trust: make a fleet, issue its nodes by hand or over SSH, revoke them."""

import base64
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from dfedge.cli.argument import add_dry_run, add_fleet, label
from dfedge.cli.field import counted
from dfedge.cli.fleetdeploy import DEPLOY, RENEW, deploy, deploy_arguments, renew, renew_arguments
from dfedge.cli.fleetlist import described, list_nodes
from dfedge.cli.output import Output, utc
from dfedge.cli.parser import Subcommands
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.errors import AgentDown

EXAMPLE: Final = "dfedge fleet enroll kiosk-07 --out kiosk-07"


def arguments(parser: ArgumentParser) -> None:
    """Which of them."""
    commands = Subcommands(parser)
    init = commands.add("init", "make a fleet: the operator's folder with its keys", "dfedge fleet init ~/fleet")
    init.add_argument("dir", type=Path, nargs="?", metavar="DIR", help="where (default: $DFEDGE_FLEET)")
    init.add_argument("--name", default=None, help="what people call the fleet")
    enroll = commands.add("enroll", "issue a node: a folder to carry to it", EXAMPLE)
    enroll.add_argument("name", metavar="NAME", help="the node's name, as in kiosk-07")
    enroll.add_argument("--label", action="append", type=label, metavar="K=V", default=[], help="may be repeated")
    enroll.add_argument("--key", type=Path, metavar="FILE.pub", help="the public key of a node that made its own")
    enroll.add_argument("--out", type=Path, metavar="DIR", required=True, help="the enrolment folder to write")
    enroll.add_argument("--days", type=int, metavar="N", help="how long its certificates last (default: trust.days)")
    listing = commands.add("list", "list the nodes that were issued", "dfedge fleet list")
    revoke = commands.add("revoke", "take a node out of the fleet", "dfedge fleet revoke kiosk-07")
    revoke.add_argument("name", metavar="NAME", help="the node's name")
    deploying = commands.add("deploy", "make nodes of hosts, over SSH", DEPLOY)
    deploy_arguments(deploying)
    renewing = commands.add("renew", "give nodes new certificates, over SSH", RENEW)
    renew_arguments(renewing)
    for command in (init, enroll, listing, revoke, deploying, renewing):
        add_fleet(command)
    for command in (init, enroll, revoke, deploying, renewing):
        add_dry_run(command)


def run(args: Namespace, out: Output) -> int:
    """Do one of them."""
    verbs = {"init": _init, "enroll": _enroll, "list": list_nodes, "revoke": _revoke, "deploy": deploy, "renew": renew}
    return verbs[args.subcommand](args, out)


def _init(args: Namespace, out: Output) -> int:
    from dfedge.jobs.init_fleet import init_fleet

    folder: Path = args.dir.absolute() if args.dir else config_of(args).fleet_dir
    made = init_fleet(folder, args.name, dry_run=args.dry_run)
    document = {
        "fleet": made.fleet,
        "name": made.name,
        "folder": str(made.folder),
        "ca": made.ca,
        "signer": made.signer,
        "dry_run": args.dry_run,
    }
    out.answer(document, f"{'would make' if args.dry_run else 'made'} fleet {made.fleet} in {made.folder}")
    if not args.dry_run:
        out.note("  it holds the fleet's keys, without a passphrase: keep it safe, and keep a copy")
        out.note(f"  next: dfedge fleet enroll NAME --out DIR{_fleet_flag(args, folder)}")
    return 0


def _fleet_flag(args: Namespace, folder: Path) -> str:
    return f" --fleet {folder}" if args.dir else ""


def _enroll(args: Namespace, out: Output) -> int:
    from dfedge.jobs.enroll import enroll

    config = config_of(args)
    days = config.trust.days if args.days is None else args.days
    node = enroll(
        config.fleet_dir, args.name, dict(args.label), args.out.absolute(), args.key, days, dry_run=args.dry_run
    )
    document = {
        **described(node),
        "out": str(args.out),
        "dry_run": args.dry_run,
    }
    verb = "would enroll" if args.dry_run else "enrolled"
    out.answer(document, f"{verb} {node.name}  {node.id}  until {utc(node.ends)[:10]}  in {args.out}")
    if not args.dry_run:
        secret = "" if args.key else "; it holds the node's private key, so carry it safely and delete it here"
        out.note(f"  next, on the node: dfedge join {args.out.name}{secret}")
    return 0


def _revoke(args: Namespace, out: Output) -> int:
    from dfedge.jobs.revoke import revoke

    config = config_of(args)
    info = revoke(config.fleet_dir, args.name, dry_run=args.dry_run)
    handed = False
    if not args.dry_run:
        try:
            with running_agent(config) as agent:
                agent.call("revoke", {"revocation": base64.b64encode(info.signed).decode()})
            handed = True
        except AgentDown:
            out.warn(
                "no agent runs here, so nobody knows yet: run this again where one does, "
                f"or at any node: dfedge import {info.path}"
            )
    document = {
        "id": info.id,
        "name": info.name,
        "sequence": info.sequence,
        "revoked": info.revoked,
        "already": info.already,
        "handed_over": handed,
        "path": str(info.path),
        "dry_run": args.dry_run,
    }
    verb = "was revoked before" if info.already else "would be revoked" if args.dry_run else "is revoked"
    spread = "; the local agent spreads it" if handed else ""
    out.answer(document, f"{info.name} {verb}: list {info.sequence} names {counted(info.revoked, 'node')}{spread}")
    return 0
