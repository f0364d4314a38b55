"""dfedge pin: keep an image whatever happens: it is never evicted and not removed."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_dry_run, add_ref
from dfedge.cli.field import image_label
from dfedge.cli.output import Output
from dfedge.cli.reach import any_agent, config_of, held_image

EXAMPLE: Final = "dfedge pin gateway:2.4.1"


def arguments(parser: ArgumentParser) -> None:
    """Which image."""
    add_ref(parser)
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Tell the store."""
    return tell("pin", args, out)


def tell(verb: str, args: Namespace, out: Output) -> int:
    """Have an image kept, or let go of again."""
    with any_agent(config_of(args), network=False) as agent:
        if args.dry_run:
            answer = {**held_image(agent, args.ref), "dry_run": True}
        else:
            answer = agent.call(verb, {"ref": str(args.ref)})
    out.answer(answer, f"{'would have ' if args.dry_run else ''}{verb}ned {image_label(answer) or args.ref}")
    return 0
