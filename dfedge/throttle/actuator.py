"""What we set on sockets and on our own process. All of it works without rights, and all of it may fail harmlessly."""

import logging
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from dfedge.throttle.path import Socket

NICE: Final = 10  # 19 would leave us standing beside any busy program
LE: Final = 0x04  # DSCP 1, lower effort (RFC 8622), as the byte of the header
UNSENT: Final = 256 * 1024  # bytes in the kernel that have not been sent: more would only keep control messages waiting
SENDER: Final = 0.65  # of the window, as SO_SNDBUF, which the kernel doubles and fills with its own books
LEAST_SNDBUF: Final = 16 * 1024  # bytes
WIDE: Final = 512 * 1024  # bytes a peer; from here on the kernel's own tuning does better
_TCP_WINDOW_CLAMP: Final = 10
_TCP_NOTSENT_LOWAT: Final = 25
_SO_BUF_LOCK: Final = 72
_SO_MAX_PACING_RATE: Final = 47
_UNPACED: Final = (1 << (8 * struct.calcsize("@L"))) - 1
log = logging.getLogger("dfedge.throttle")


class Valve:
    """One session's socket: sets what has changed, and only that."""

    def __init__(self, sock: Socket) -> None:
        self.socket = sock
        self._clamp: int | None = None
        self._buffer: int | None = None
        self._pace: int | None = None

    def mark(self) -> None:
        """Say to everybody on the way that this may wait."""
        self._set(socket.IPPROTO_IP, socket.IP_TOS, LE)
        self._set(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, LE)
        self._set(socket.SOL_SOCKET, socket.SO_PRIORITY, 1)  # after IP_TOS, which resets it
        self._set(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT)
        if "lp" in _allowed_congestion_control():
            self._set(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"lp")

    def receive(self, window: int) -> None:
        """Let the peer have so many bytes under way to us."""
        if not _near(self._clamp, window) and not (self._clamp is None and window >= WIDE):
            self._clamp = window
            self._set(socket.IPPROTO_TCP, _TCP_WINDOW_CLAMP, window)

    def send(self, window: int) -> None:
        """Keep so many bytes under way to the peer."""
        if window >= WIDE:
            if self._buffer is not None:
                self._buffer = None
                self._set(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
            return
        if not _near(self._buffer, window):
            self._buffer = window
            self._set(socket.SOL_SOCKET, socket.SO_SNDBUF, max(LEAST_SNDBUF, int(window * SENDER)))

    def pace(self, rate: float) -> None:
        """Spread what is written over time, in bytes/s; infinite: as it comes."""
        wanted = _UNPACED if rate >= _UNPACED else int(rate)
        if not _near(self._pace, wanted) and not (self._pace is None and wanted == _UNPACED):
            self._pace = wanted
            self._set(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("@L", wanted))

    def open(self) -> None:
        """Take all limits away again."""
        if self._clamp is not None:
            self.receive(1 << 30)
        self.send(WIDE)
        self.pace(float("inf"))

    def _set(self, level: int, option: int, value: "int | bytes") -> None:
        with suppress(OSError):  # the socket is gone, or of the other family, or the kernel does not know it
            self.socket.setsockopt(level, option, value)


def _near(before: int | None, now: int) -> bool:
    """Not worth a call."""
    return before is not None and abs(before - now) <= before // 32


def _allowed_congestion_control() -> list[str]:
    try:
        return Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text(encoding="ascii").split()
    except OSError:
        return []


def step_back() -> None:
    """Let this process and the threads it will start give way to others: CPU, and disk where the scheduler heeds it."""
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < NICE:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if os.getsid(0) == os.getpid():  # a service: among sessions nice counts for nothing, only the group's does
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")
    _idle_io()


def _idle_io() -> None:
    import psutil

    try:
        process = psutil.Process()
        if process.ionice().ioclass != psutil.IOPRIO_CLASS_IDLE:
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
    except (psutil.Error, OSError) as error:
        log.debug("io class unchanged error=%s", error)
