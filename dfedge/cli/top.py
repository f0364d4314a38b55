"""dfedge top: images, peers, budget and host, live."""

import sys
import time
from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import telling
from dfedge.cli.key import keys
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.cli.spark import History
from dfedge.cli.topframe import Room, measured, picture
from dfedge.core.units import parse_duration
from dfedge.node.client import Client

EXAMPLE: Final = "dfedge top --once"
SHORTEST: Final = 0.2  # seconds: the agent's own numbers are not newer
LONGEST: Final = 3600.0


def _interval(text: str) -> float:
    seconds = parse_duration(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f'"{text}" is not from 0.2 s to 1 h; write one as in "1s"')
    return seconds


def arguments(parser: ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--once", action="store_true", help="show it once and end")
    parser.add_argument(
        "--interval", type=telling(_interval), default=1.0, metavar="S", help="time between two looks (default: 1s)"
    )


def run(args: Namespace, out: Output) -> int:
    """Ask again and again over one connection, until somebody has seen enough."""
    with running_agent(config_of(args)) as agent:
        if out.json or args.once or not out.screen:
            _print(agent, out, args.interval, once=args.once)
        else:
            _live(agent, out, args.interval)
    return 0


def _print(agent: Client, out: Output, interval: float, *, once: bool) -> None:
    history = History()
    while True:
        answer = agent.call("top", {})
        if out.json:
            out.event({"type": "top", **answer})
        else:
            history.add(time.monotonic(), measured(answer))
            room = Room(columns=out.columns, ascii=out.ascii)
            out.print("\n".join(line.text for line in picture(answer, history, room)))
        if once:
            return
        time.sleep(interval)
        if not out.json:
            out.print("\n")


def _live(agent: Client, out: Output, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    history = History()
    console = Console(file=out.stdout, highlight=False)
    with keys(sys.stdin) as wait, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            answer = agent.call("top", {})
            history.add(time.monotonic(), measured(answer))
            width, height = console.size
            lines = picture(answer, history, Room(width, height, out.ascii, "q quits"))
            text = Text("\n", no_wrap=True, end="").join(
                Text(line.text, style="bold" if line.strong else "") for line in lines
            )
            live.update(text, refresh=True)
            if wait(interval):
                return
