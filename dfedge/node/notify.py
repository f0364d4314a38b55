"""What systemd is told: ready, stopping, one live line, and that we are alive (sd_notify(3))."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import anyio

WATCHDOG_SHARE: Final = 3  # pings in a watchdog's time: one may be late


class Notifier:
    """Speaks to `$NOTIFY_SOCKET`; says nothing where there is none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        own = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if own and usec.isdigit() else 0.0

    def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`. A systemd that does not listen is no reason to fail."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                return

    async def keep_alive(self, healthy: Callable[[], bool], status: Callable[[], str]) -> None:
        """Feed the watchdog from the event loop as long as the node is healthy, and keep the status line true."""
        period = self.watchdog_s / WATCHDOG_SHARE if self.watchdog_s else 10.0
        said = ""
        while self._path:
            line = status()
            alive = ("WATCHDOG=1",) if self.watchdog_s and healthy() else ()
            changed = (f"STATUS={line}",) if line != said else ()
            if alive or changed:
                self.tell(*alive, *changed)
                said = line
            await anyio.sleep(period)
