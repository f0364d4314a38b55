"""What runs beside dfedge in a namespace, by itself with no package: a TCP flow, and a probe of the delay.

    python flow.py sink PORT                   take a flow; prints `seconds bytes` ten times a second
    python flow.py source HOST PORT SECONDS    send one, as fast as TCP lets it
    python flow.py echo PORT                   answer the probe
    python flow.py probe HOST PORT             prints `seconds milliseconds` twenty times a second

Seconds are the machine's monotonic ones.
"""

import socket
import sys
import time


def sink(port: int) -> None:
    with socket.create_server(("", port)) as server:
        connection, _ = server.accept()
    total, told = 0, 0.0
    while data := _receive(connection):
        total += len(data)
        now = time.monotonic()
        if now - told >= 0.1:
            told = now
            print(f"{now:.3f} {total}", flush=True)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 18)
    except ConnectionResetError:
        return b""


def source(host: str, port: int, seconds: float) -> None:
    block = bytes(1 << 16)
    with socket.create_connection((host, port)) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.send(block)
        # what waits in the buffer is not the flow's any more
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def echo(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        while True:
            data, address = sock.recvfrom(64)
            sock.sendto(data, address)


def probe(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        while True:
            began = time.monotonic()
            sock.sendto(f"{began:.6f}".encode(), (host, port))
            try:
                while sock.recv(64) != f"{began:.6f}".encode():
                    pass
            except TimeoutError:
                continue
            now = time.monotonic()
            print(f"{now:.3f} {(now - began) * 1000:.2f}", flush=True)
            time.sleep(max(0.0, 0.05 - (now - began)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sink", port]:
            sink(int(port))
        case ["source", host, port, seconds]:
            source(host, int(port), float(seconds))
        case ["echo", port]:
            echo(int(port))
        case ["probe", host, port]:
            probe(host, int(port))
        case _:
            sys.exit(__doc__)
