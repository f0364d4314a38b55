"""dfedge gc: free what nothing needs."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_dry_run
from dfedge.cli.field import image_label, rows, whole
from dfedge.cli.output import Output
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.units import size

EXAMPLE: Final = "dfedge gc --dry-run"


def arguments(parser: ArgumentParser) -> None:
    """Whether to do it."""
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Free it, or say what that would free."""
    with any_agent(config_of(args), network=False) as agent:
        answer = agent.call("gc", {"dry_run": args.dry_run})
    gone = ", ".join(image_label(row) for row in rows(answer, "images"))
    verb = "would free" if args.dry_run else "freed"
    out.answer(answer, f"{verb} {size(whole(answer, 'freed'))}{': ' + gone if gone else ''}")
    return 0
