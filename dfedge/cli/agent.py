"""dfedge agent: run this node in the foreground, until SIGTERM or Ctrl-C."""

import logging
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from dfedge.cli.output import Output
from dfedge.cli.reach import config_of

if TYPE_CHECKING:
    import anyio

EXAMPLE: Final = "dfedge agent"

_PRIORITY: Final = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def arguments(parser: ArgumentParser) -> None:
    """Its other settings are in the file (`dfedge config show`)."""
    parser.add_argument(
        "--watch", action="append", type=Path, metavar="DIR", help="take in bundles that appear there, may be repeated"
    )


def run(args: Namespace, out: Output) -> int:
    """Serve until told to stop, then end cleanly."""
    config = config_of(args)
    start_log(out.stderr, level_of(out))

    import anyio

    from dfedge.node.agent import run_agent
    from dfedge.node.control import first_told

    async def until_told() -> None:
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            await group.start(_stop_on_signal, stop)
            await run_agent(config, network=True, stop=stop, settings=lambda: config_of(args))
            group.cancel_scope.cancel()

    try:
        anyio.run(until_told)
    except BaseExceptionGroup as errors:
        told = first_told(errors)
        if told is None:
            raise
        raise told from errors
    return 0


async def _stop_on_signal(stop: "anyio.Event", *, task_status: "anyio.abc.TaskStatus[None]") -> None:
    """The first signal asks for a clean end; a second one is not waited for."""
    import signal

    import anyio

    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                os._exit(128 + number)
            logging.getLogger("dfedge").info("stopping signal=%s", number.name)
            stop.set()


def level_of(out: Output) -> int:
    """What -q and -v choose."""
    if out.quiet:
        return logging.WARNING
    return logging.DEBUG if out.verbose else logging.INFO


def start_log(stream: TextIO, level: int) -> None:
    """Log to `stream` as `event key=value`; where systemd's journal reads it, with a priority in front."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Journal() if os.environ.get("JOURNAL_STREAM") else _Plain())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up only when something is wrong
    logging.getLogger("dfedge").setLevel(level)


class _Plain(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _Journal(logging.Formatter):
    """journald reads the priority from `<N>` at the start of each line, and has the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Every line of a traceback carries the priority."""
        priority = _PRIORITY.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
