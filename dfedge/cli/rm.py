"""dfedge rm: remove an image from this node."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_dry_run, add_ref
from dfedge.cli.field import image_label, whole
from dfedge.cli.output import Output
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.units import size

EXAMPLE: Final = "dfedge rm gateway:2.4.0"


def arguments(parser: ArgumentParser) -> None:
    """Which image."""
    add_ref(parser)
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Remove it; what other images share with it stays."""
    with any_agent(config_of(args), network=False) as agent:
        answer = agent.call("rm", {"ref": str(args.ref), "dry_run": args.dry_run})
    freed = size(whole(answer, "freed") or whole(answer, "bytes"))
    verb = "would remove" if args.dry_run else "removed"
    out.answer(answer, f"{verb} {image_label(answer) or args.ref}, {freed}")
    return 0
