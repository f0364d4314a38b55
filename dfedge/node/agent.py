"""Starting a node: the process is set up before the first heavy library is loaded."""

from collections.abc import Callable

import anyio

from dfedge.node import process
from dfedge.node.config import Config


async def run_agent(
    config: Config,
    *,
    network: bool = True,
    on_ready: Callable[[], None] | None = None,
    stop: anyio.Event | None = None,
    settings: Callable[[], Config] | None = None,
) -> None:
    """Run a node until `stop` is set or the task is cancelled; `on_ready` is called once commands are answered.

    On SIGHUP `settings` is called, and the [throttle] of what it gives holds from then on.

    Raises Busy (another agent, the port), NotFound (not joined), Untrusted, Refused, NoSpace.
    """
    process.tune_malloc()
    process.raise_file_limit()

    from dfedge.trust.lean import asyncssh_lean

    asyncssh_lean()  # before any module that imports asyncssh: a third of its import time, and no child processes

    from dfedge.node.wiring import run

    await run(config, network, on_ready, stop or anyio.Event(), settings)
