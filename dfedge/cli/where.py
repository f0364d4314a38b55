"""dfedge where: who holds which share of an image, as neighbours and their neighbours tell."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_ref, seconds
from dfedge.cli.field import rows, short, whole, word
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.units import size

EXAMPLE: Final = "dfedge where gateway:2.4.1"


def arguments(parser: ArgumentParser) -> None:
    """Which image."""
    add_ref(parser)
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="ask for at most this long who else has it (default: 2s)"
    )


def run(args: Namespace, out: Output) -> int:
    """List them."""
    with running_agent(config_of(args)) as agent:
        answer = agent.call("where", {"ref": str(args.ref), "timeout": args.timeout})
    nodes = rows(answer, "nodes")
    table = out.table(
        ["NODE", "IMAGE", ">HAS", ">MISSING", ">SHARE", "CONNECTED"],
        [
            [
                word(row, "name") or word(row, "node")[:12],
                short(word(row, "image")),
                size(whole(row, "have_bytes")),
                size(whole(row, "missing_bytes")),
                _share(whole(row, "have_bytes"), whole(row, "missing_bytes")),
                "yes" if row.get("connected") else "no",
            ]
            for row in nodes
        ],
    )
    out.answer(answer, table if nodes else "")
    if not nodes and not out.json:
        out.note(f"{args.ref}: no node that we know of holds any of it; see: dfedge peers")
    return 0


def _share(have: int, missing: int) -> str:
    return f"{100 * have // (have + missing)} %" if have + missing else "100 %"
