"""What is set on a socket arrives there, and goes away again."""

import socket
import struct
from collections.abc import Iterator

import pytest

from dfedge.throttle.actuator import LE, Valve
from dfedge.throttle.path import look


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


def _pace(sock: socket.socket) -> int:
    return int(struct.unpack("@L", sock.getsockopt(socket.SOL_SOCKET, 47, struct.calcsize("@L")))[0])


def test_packets_say_that_they_may_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    Valve(pair[0]).mark()
    assert pair[0].getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == LE
    assert pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 1


def test_limits_are_set_and_taken_away(pair: tuple[socket.socket, socket.socket]) -> None:
    valve = Valve(pair[0])
    valve.receive(64 * 1024)
    valve.send(64 * 1024)
    valve.pace(1_000_000)
    assert pair[0].getsockopt(socket.IPPROTO_TCP, 10) == 64 * 1024
    assert 60_000 < pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 100_000
    assert _pace(pair[0]) == 1_000_000
    valve.open()
    assert pair[0].getsockopt(socket.IPPROTO_TCP, 10) > 1 << 20
    assert _pace(pair[0]) > 1 << 31


def test_a_socket_that_is_gone_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    valve = Valve(pair[0])
    pair[0].close()
    valve.mark()
    valve.receive(4096)
    assert look(pair[0]) is None


def test_the_kernel_tells_what_a_connection_moved(pair: tuple[socket.socket, socket.socket]) -> None:
    before, there = look(pair[0]), look(pair[1])
    assert before is not None and there is not None
    pair[0].sendall(bytes(100_000))
    left = 100_000
    while left:
        left -= len(pair[1].recv(left))
    after, taken = look(pair[0]), look(pair[1])
    assert after is not None and taken is not None
    assert after.sent - before.sent == 100_000
    assert taken.down - there.down == 100_000
    assert 0 < after.rtt_s < 1
    assert after.packets_up > before.packets_up
