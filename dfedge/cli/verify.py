"""dfedge verify: read what is stored and prove it again."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_ref
from dfedge.cli.field import image_label, rows, whole
from dfedge.cli.output import Output
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.units import size

EXAMPLE: Final = "dfedge verify gateway:2.4.1 --repair"


def arguments(parser: ArgumentParser) -> None:
    """What to prove, and what to do about what is spoilt."""
    add_ref(parser, optional=True)
    parser.add_argument("--repair", action="store_true", help="fetch spoilt pieces again")
    parser.add_argument("--rebuild-index", action="store_true", help="make the index anew from the files")


def run(args: Namespace, out: Output) -> int:
    """Prove it; the exit code is 1 where something spoilt is left."""
    params = {
        "ref": str(args.ref) if args.ref else None,
        "repair": args.repair,
        "rebuild_index": args.rebuild_index,
    }
    with any_agent(config_of(args), network=args.repair) as agent:
        answer = agent.call("verify", params, on_event=out.event)
    checked, bad, repaired = (whole(answer, key) for key in ("checked", "bad", "repaired"))
    left = max(0, bad - repaired)
    out.result(answer, f"{checked} proven again, {bad} bad, {repaired} repaired", ok=not left)
    for image in rows(answer, "incomplete"):
        if lacking := whole(image, "bytes") - whole(image, "have_bytes"):  # else it is here again, not yet in its place
            out.note(f"{image_label(image)} lacks {size(lacking)}")
    if left or rows(answer, "incomplete"):
        out.note("  try: dfedge verify --repair")
    return 1 if left else 0
