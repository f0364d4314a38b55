"""dfedge peers: the neighbours, how we know them, and what they give and take."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.field import rows, whole, word, words
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.units import size

EXAMPLE: Final = "dfedge peers"


def arguments(parser: ArgumentParser) -> None:
    """It takes nothing of its own."""


def run(args: Namespace, out: Output) -> int:
    """List them."""
    with running_agent(config_of(args)) as agent:
        answer = agent.call("peers", {})
    peers = rows(answer, "peers")
    table = out.table(
        ["NODE", "ADDRESS", "VIA", "STATE", ">DOWN", ">UP", "HAS", "REASON"],
        [
            [
                word(row, "name") or word(row, "id", "-")[:12],
                (words(row, "addresses") or ["-"])[0],
                word(row, "via", "-"),
                word(row, "state", "-"),
                size(whole(row, "bytes_down")),
                size(whole(row, "bytes_up")),
                _images(row),
                word(row, "reason"),
            ]
            for row in peers
        ],
    )
    out.answer(answer, table if peers else "")
    if not peers and not out.json:
        foreign = whole(answer, "foreign")
        nodes = "1 node" if foreign == 1 else f"{foreign} nodes"
        found = f", but {nodes} of other fleets: is this node enrolled in the right one" if foreign else ""
        out.note(f"no peers yet{found}; see what is wrong: dfedge doctor")
    return 0


def _images(row: dict[str, object]) -> str:
    names = words(row, "images")
    if isinstance(row.get("images"), int):
        return str(row["images"])
    return "-" if not names else names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
