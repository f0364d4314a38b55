"""dfedge unpin: let an image be evicted and removed again."""

from argparse import Namespace
from typing import Final

from dfedge.cli.output import Output
from dfedge.cli.pin import arguments, tell

__all__ = ["EXAMPLE", "arguments", "run"]
EXAMPLE: Final = "dfedge unpin gateway:2.4.1"


def run(args: Namespace, out: Output) -> int:
    """Tell the store."""
    return tell("unpin", args, out)
