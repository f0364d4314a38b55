"""dfedge fleet deploy and renew: make nodes of hosts over SSH, and give them new certificates."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zipimport import zipimporter

from dfedge.cli.argument import label, seconds, telling
from dfedge.cli.field import counted, part, rows, word
from dfedge.cli.output import Output, utc
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.errors import DfedgeError, UsageError
from dfedge.jobs.destination import Destination

if TYPE_CHECKING:
    from dfedge.jobs.deployment import Order, Outcome, Step
    from dfedge.jobs.reach import Reach
    from dfedge.node.config import Config

DEPLOY: Final = "dfedge fleet deploy root@gw-1 root@gw-2 --label site=hall-2"
RENEW: Final = "dfedge fleet renew --before 30d"
PARALLEL: Final = 8  # hosts at once
MAX_PARALLEL: Final = 64


def deploy_arguments(parser: ArgumentParser) -> None:
    """Which hosts, and what they get."""
    parser.add_argument(
        "host", type=telling(Destination.parse), nargs="+", metavar="HOST", help="[NAME=][USER@]HOST[:PORT]"
    )
    parser.add_argument("--label", action="append", type=label, metavar="K=V", default=[], help="may be repeated")
    parser.add_argument("--become", choices=["sudo"], default="", help="become root there, without a password")
    parser.add_argument("--file", type=Path, metavar="FILE", help="the dfedge.pyz to copy (default: the one that runs)")
    parser.add_argument("--days", type=int, metavar="N", help="how long its certificates last (default: trust.days)")
    _add_parallel(parser)


def renew_arguments(parser: ArgumentParser) -> None:
    """Which nodes."""
    parser.add_argument("node", nargs="*", metavar="NODE", help="their names")
    parser.add_argument("--before", type=seconds, metavar="TIME", help="instead: all that end within it, as in 30d")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write enrolments to carry there, instead of SSH")
    parser.add_argument("--days", type=int, metavar="N", help="how long its certificates last (default: trust.days)")
    _add_parallel(parser)


def _add_parallel(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--parallel",
        type=telling(_parallel),
        metavar="N",
        default=PARALLEL,
        help=f"hosts at once (default: {PARALLEL})",
    )


def _parallel(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_PARALLEL:
        raise ValueError(f'"{text}" hosts at once; 1 to {MAX_PARALLEL} are allowed')
    return int(text)


def deploy(args: Namespace, out: Output) -> int:
    """Make nodes of them."""
    from dfedge.jobs.deployment import Order
    from dfedge.jobs.enroll import check_terms
    from dfedge.jobs.payload import Payload
    from dfedge.jobs.reach import Reach

    config = config_of(args)
    twice = [str(host) for index, host in enumerate(args.host) if host in args.host[:index]]
    if twice:
        raise UsageError(f"fleet deploy: {twice[0]} is named twice", DEPLOY)
    payload = Payload.load(args.file or _own_file())
    check_terms(config.fleet_dir, dict(args.label), _days(args, config))
    order = Order(config.fleet_dir, payload, dict(args.label), _days(args, config), renew=False, dry_run=args.dry_run)
    reaches = [Reach(host, args.become) for host in args.host]
    return _answer(_run(args, out, config, order, reaches), out, dry_run=args.dry_run)


def renew(args: Namespace, out: Output) -> int:
    """Give them new certificates."""
    from dfedge.jobs.deployment import Order
    from dfedge.jobs.enroll import check_terms
    from dfedge.jobs.renew import carry, choose

    if bool(args.node) == (args.before is not None):
        raise UsageError("fleet renew: name nodes, or say --before TIME", RENEW)
    config = config_of(args)
    days = _days(args, config)
    check_terms(config.fleet_dir, {}, days)
    chosen = choose(config.fleet_dir, args.node, args.before)
    if not chosen:
        out.answer({"hosts": []}, "nothing to renew")
        return 0
    if args.out:
        carried = carry(config.fleet_dir, chosen, args.out.absolute(), days, dry_run=args.dry_run)
        verb = "would renew" if args.dry_run else "renewed"
        document = {
            "carry": [{"name": node.name, "ends": utc(node.ends), "out": str(place)} for node, place in carried]
        }
        lines = [f"{verb} {node.name}  until {utc(node.ends)[:10]}  in {place}" for node, place in carried]
        out.answer(document, "\n".join(lines))
        out.note("  next, on each: dfedge join DIR, then start its agent anew")
        return 0
    lost = [node.name for node, reach in chosen if reach is None]
    for name in lost:
        out.warn(
            f"{name}: was not deployed from here, so where it is is not known; carry the file: "
            f"dfedge fleet renew {name} --out DIR"
        )
    order = Order(config.fleet_dir, None, {}, days, renew=True, dry_run=args.dry_run)
    reaches = [reach for _, reach in chosen if reach is not None]
    code = _answer(_run(args, out, config, order, reaches), out, dry_run=args.dry_run, lost=lost)
    return code or (1 if lost else 0)


def _days(args: Namespace, config: "Config") -> int:
    days: int = config.trust.days if args.days is None else args.days
    return days


def _own_file() -> Path:
    """The file this very dfedge runs from. Raises UsageError where it runs from elsewhere."""
    loader = getattr(sys.modules["__main__"], "__loader__", None)
    if isinstance(loader, zipimporter):
        return Path(loader.archive).absolute()
    raise UsageError("fleet deploy: this dfedge is not in one file; say which to copy", f"{DEPLOY} --file dfedge.pyz")


def _run(args: Namespace, out: Output, config: "Config", order: "Order", reaches: Sequence["Reach"]) -> list["Outcome"]:
    import anyio

    from dfedge.jobs.connect_ssh import connect
    from dfedge.jobs.deploy import deploy as flow

    out.kept = "what was done on the hosts stays; the same command goes on from there"
    width = max((len(str(reach.destination)) for reach in reaches), default=0)

    def tell(step: "Step") -> None:
        out.event({"type": "step", "host": step.host, "step": step.step, "did": step.did, "text": step.text})
        if not out.json:
            would = "would " if step.did == "would" else ""
            text = step.text.removeprefix(f"{step.host}: ")
            out.note(f"{step.host:<{width}}  {step.step:<7}  {would}{text}")

    async def seen(node: str) -> bool | None:
        return await anyio.to_thread.run_sync(_seen, config, node)

    async def run() -> list["Outcome"]:
        return await flow(order, reaches, connect, parallel=args.parallel, tell=tell, seen=seen)

    return anyio.run(run)


def _seen(config: "Config", node: str) -> bool | None:
    try:
        with running_agent(config) as agent:
            if word(part(agent.call("status", {}), "node"), "id") == node:
                return True
            peers = rows(agent.call("peers", {}), "peers")
    except DfedgeError:  # none runs, or it is another user's: nobody here to see it
        return None
    return any(word(row, "id") == node and word(row, "state") in ("connected", "snubbed") for row in peers)


def _answer(outcomes: Sequence["Outcome"], out: Output, *, dry_run: bool, lost: Sequence[str] = ()) -> int:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    documents = [_document(outcome) for outcome in outcomes]
    table = out.table(
        ["HOST", "NODE", "STATE", "ENDS", "SEEN", "NOTE"],
        [
            [
                outcome.host,
                outcome.name or "-",
                outcome.state,
                utc(outcome.ends)[:10] if outcome.ends else "-",
                {None: "-", True: "yes", False: "not yet"}[outcome.seen],
                outcome.error.code if outcome.error else outcome.note,
            ]
            for outcome in outcomes
        ],
    )
    document = {"hosts": documents, "not_reached": list(lost), "dry_run": dry_run}
    out.result(document, table if outcomes else "", ok=not failed and not lost)
    if failed and not out.json:
        for outcome in failed:
            if outcome.error:
                out.error(outcome.error)
        some = f"{len(failed)} of {counted(len(outcomes), 'host')} failed"
        out.note(f"{some}; the same command again does what is missing")
    return 1 if failed else 0


def _document(outcome: "Outcome") -> dict[str, object]:
    error = outcome.error
    document: dict[str, object] = {
        "host": outcome.host,
        "name": outcome.name,
        "id": outcome.id,
        "state": outcome.state,
        "ends": utc(outcome.ends) if outcome.ends else None,
        "seen": outcome.seen,
        "note": outcome.note,
    }
    return document | ({"code": error.code, "error": str(error), "hint": error.hint} if error else {})
