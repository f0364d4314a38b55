"""dfedge gc: free what nothing needs."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_dry_run
from dfedge.cli.field import image_label, rows, whole, word
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
    out.answer(answer, _text(answer, args.dry_run))
    if word(answer, "short"):
        out.warn(word(answer, "short"))
    return 0


def _text(answer: dict[str, object], dry_run: bool) -> str:
    gone = rows(answer, "images")
    names = ", ".join(image_label(row) for row in gone)
    verb = "would free" if dry_run else "freed"
    lines = [f"{verb} {size(whole(answer, 'freed'))}{': ' + names if names else ''}"]
    if word(answer, "because"):
        lines.append(f"  because {word(answer, 'because')}")
    lines += [f"  {image_label(row)}  {size(whole(row, 'bytes'))}  {word(row, 'reason')}" for row in gone]
    return "\n".join(lines)
