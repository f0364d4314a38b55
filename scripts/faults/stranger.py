"""Somebody on the line without a certificate, in a process of its own: `stranger.py PORT SECONDS`.

Keeps 1,000 connections open to a port of this host, from a thousand addresses: silent ones, ones with an unfinished
packet of 255 KiB, ones that send garbage. What is closed is opened again, 300 a second at most. Prints how many.
"""

import os
import socket
import sys
import time
from contextlib import suppress

CONNECTIONS = 1000
UNFINISHED = 200
PER_S = 300
BAIT = b"SSH-2.0-x\r\n" + (262_000).to_bytes(4, "big") + bytes(255 * 1024)


def dial(number: int, port: int) -> socket.socket | None:
    """One connection of the kind that its number says; None if it was closed at once."""
    sock = socket.socket()
    try:
        sock.bind((f"127.1.{number % 250}.{1 + number // 250}", 0))
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect(("127.0.0.1", port))
        sock.settimeout(0.2)
        if number < UNFINISHED:
            sock.sendall(BAIT)
        elif number % 3 == 0:
            sock.sendall(os.urandom(500))
        sock.setblocking(False)
    except OSError:
        sock.close()
        return None
    return sock


def is_open(sock: socket.socket | None) -> bool:
    """Whether the other side still has it."""
    if sock is None:
        return False
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    sock.close()
    return False


def main(port: int, seconds: float) -> None:
    """Storm for so long."""
    held: list[socket.socket | None] = [None] * CONNECTIONS
    dialled = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        room = CONNECTIONS if not dialled else PER_S // 10
        for number, sock in enumerate(held):
            if room and not is_open(sock):
                held[number] = dial(number, port)
                dialled += 1
                room -= 1
        time.sleep(max(0.0, 0.1 - (time.monotonic() - started)))
    print(dialled)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
