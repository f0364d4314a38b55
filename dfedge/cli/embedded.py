"""A node for as long as one command takes, in a thread of this process, at the usual control socket.

So every command speaks to an agent in one way, and a second command meanwhile finds this one.
"""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from typing import Final

import anyio
from anyio.from_thread import start_blocking_portal

from dfedge.core.errors import TimedOut
from dfedge.node.agent import run_agent
from dfedge.node.client import Client
from dfedge.node.config import Config
from dfedge.node.control import first_told

READY_S: Final = 60.0  # opening a large store on an SD card takes seconds


@contextmanager
def embedded_agent(config: Config, *, network: bool) -> Iterator[Client]:
    """Start the node, lend a connection to it, and stop it cleanly. Raises what the node's start raises."""
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())  # with -v there is one; else the node's log is not ours
    with start_blocking_portal() as portal:
        stop = portal.call(anyio.Event)
        ready = threading.Event()
        node = portal.start_task_soon(partial(run_agent, config, network=network, on_ready=ready.set, stop=stop))
        node.add_done_callback(lambda _: ready.set())
        try:
            if not ready.wait(READY_S):
                raise TimedOut(f"{config.state_dir}: the node was not ready in {READY_S:.0f} s", "dfedge doctor")
            if node.done():
                _end(node)
            with Client.connect(config.runtime_dir) as client:
                yield client
        finally:
            portal.call(stop.set)
            _end(node)


def _end(node: "Future[None]") -> None:
    """Wait for the node's end; what went wrong comes out as the one error a user is told."""
    try:
        node.result()
    except CancelledError:
        return
    except Exception as error:
        told = first_told(error)
        if told is not None and told is not error:
            raise told from error
        raise
