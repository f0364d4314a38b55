"""One node's mDNS, for the tests: prints what it hears, one JSON object a line, until it is ended.

Arguments: id, name, fleet, port, then the interfaces.
"""

import json
import logging
import signal
import sys

import anyio

from dfedge.core.seams import NodeId
from dfedge.discovery.mdns import Mdns
from dfedge.discovery.roster import Sighting


def tell(kind: str, **what: object) -> None:
    sys.stdout.write(json.dumps({"type": kind, **what}) + "\n")
    sys.stdout.flush()


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell("log", text=record.getMessage())


async def main(*arguments: str) -> None:
    own, name, fleet, port, *interfaces = arguments

    def sighted(seen: Sighting) -> None:
        tell("sighting", id=seen.id, host=seen.host, port=seen.port, name=seen.name, at=anyio.current_time())

    logging.getLogger("dfedge.discovery").addHandler(_Told())
    logging.getLogger("dfedge.discovery").setLevel(logging.INFO)
    mdns = Mdns(
        NodeId(own),
        name,
        fleet,
        int(port),
        tuple(interfaces),
        sighted,
        on_gone=lambda node: tell("gone", id=node),
        on_change=lambda: tell("change"),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mdns.run)
        tell("started", at=anyio.current_time())
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        before = anyio.current_time()
        tasks.cancel_scope.cancel()
    tell("ended", seconds=anyio.current_time() - before)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
