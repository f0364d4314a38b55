"""dfedge ls: the images this node holds, whole or in part."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.field import image_label, rows, short, whole, word
from dfedge.cli.output import Output
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.units import size

EXAMPLE: Final = "dfedge ls"


def arguments(parser: ArgumentParser) -> None:
    """It takes nothing of its own."""


def run(args: Namespace, out: Output) -> int:
    """List them."""
    with any_agent(config_of(args), network=False) as agent:
        answer = agent.call("ls", {})
    images = rows(answer, "images")
    table = out.table(
        ["IMAGE", "ID", ">SIZE", "STATE", "PINNED"],
        [
            [
                image_label(row),
                short(word(row, "image")),
                size(whole(row, "bytes")),
                _state(row),
                "pinned" if row.get("pinned") else "-",
            ]
            for row in images
        ],
    )
    out.answer(answer, table if images else "")
    if not images and not out.json:
        out.note("no images yet; fetch one: dfedge get NAME, or publish one: dfedge publish PATH --name N --version V")
    return 0


def _state(row: dict[str, object]) -> str:
    if row.get("complete"):
        return "complete"
    total = whole(row, "bytes")
    return f"{100 * whole(row, 'have_bytes') // total} %" if total and "have_bytes" in row else "partial"
