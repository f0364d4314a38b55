"""What the kernel knows of each session's TCP connection: delay, and how many bytes went (TCP_INFO).

A queue shows as a round trip longer than the path's own. Our send buffer is not in it, but the queue of either way is.
A receiver sees its own downlink fill as well as a sender does, as long as it sends requests.
"""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

BASE_ON_LINK_S: Final = 0.002  # seconds: a connection that began on a full link takes the queue for the path
FRESH_MS: Final = 1000  # after the last acknowledgement the round trip says nothing
HEADERS4: Final = 66  # bytes: Ethernet 14, IPv4 20, TCP with timestamps 32
HEADERS6: Final = 86

# tcpi_last_ack_recv, _rtt, _bytes_acked, _bytes_received, _segs_out, _segs_in, _min_rtt, _bytes_sent, _bytes_retrans
_INFO: Final = struct.Struct("<56xI8xI48xQQII4xI48xQQ")


class Socket(Protocol):
    """A TCP socket, as far as we look at it and set it."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes: ...

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...

    def fileno(self) -> int: ...


class Session(Protocol):
    """A session with a peer, as far as we look at it."""

    @property
    def name(self) -> str:
        """What to call the peer."""
        ...

    @property
    def address(self) -> str:
        """`host:port` or `[v6%scope]:port`, by which its lanes are known."""
        ...

    @property
    def socket(self) -> Socket | None:
        """None once it is gone."""
        ...

    @property
    def strain(self) -> tuple[float, float]:
        """What the peer says of other flows' queues in its link, up and down, in seconds of a round trip."""
        ...

    def say_strained(self, up_ms: int, down_ms: int) -> None:
        """Tell the peer the same of our link."""
        ...


@dataclass(frozen=True, slots=True)
class Info:
    """One look at a connection. Bytes are payload since it began."""

    rtt_s: float
    least_rtt_s: float
    fresh: bool  # the round trip was measured lately
    sent: int
    acked: int
    retransmitted: int
    down: int
    packets_up: int  # segments, acknowledgements too
    packets_down: int

    def delay_s(self, *, on_link: bool) -> float:
        """How long packets queue on the path."""
        base = min(self.least_rtt_s, BASE_ON_LINK_S) if on_link else self.least_rtt_s
        return max(0.0, self.rtt_s - base)


def look(sock: Socket) -> Info | None:
    """Ask the kernel; None if the socket is gone."""
    if sock.fileno() < 0:
        return None
    try:
        data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return None
    if len(data) < _INFO.size:  # an older kernel knows less
        data = data.ljust(_INFO.size, b"\0")
    last_ack, rtt, acked, received, segs_out, segs_in, min_rtt, sent, retrans = _INFO.unpack(data)
    return Info(rtt / 1e6, min_rtt / 1e6, last_ack < FRESH_MS, sent, acked, retrans, received, segs_out, segs_in)


@dataclass(frozen=True, slots=True)
class Step:
    """What one session moved between two looks."""

    session: Session
    info: Info
    up: int  # payload bytes
    down: int
    packets_up: int
    packets_down: int

    @property
    def headers(self) -> int:
        """Bytes before the payload of a packet."""
        return HEADERS6 if self.session.address.startswith("[") else HEADERS4


class Paths:
    """All sessions' connections from look to look."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Session, Info]] = {}

    def step(self, sessions: Iterable[Session]) -> list[Step]:
        """Look at each; a session that is new has moved nothing yet."""
        before, self._before = self._before, {}
        steps = []
        for session in sessions:
            sock = session.socket
            info = look(sock) if sock is not None else None
            if info is None:
                continue
            self._before[id(session)] = (session, info)
            known = before.get(id(session))
            last = known[1] if known is not None and known[0] is session else info
            up = max(0, info.sent - last.sent, info.acked - last.acked + info.retransmitted - last.retransmitted)
            down = max(0, info.down - last.down)  # the session may have another socket; packets begin anew after 2**32
            packets_up = max(0, info.packets_up - last.packets_up)
            packets_down = max(0, info.packets_down - last.packets_down)
            steps.append(Step(session, info, up, down, packets_up, packets_down))
        return steps
