"""Somebody on the LAN who announces nodes that do not exist: `liar.py ADDRESS FLEET_TAG COUNT PER_S`.

Each has an id, a name and an address of its own, and the address is one that answers: connections to it are accepted,
kept silent and counted. Prints how many instances were sent, how many dials came, and the most of them in a second.
"""

import base64
import os
import socket
import struct
import sys
import threading
import time

GROUP = ("224.0.0.251", 5353)
ADDRESSES = 100  # .150 to .249 of the /24, which the caller has given to our interface
TYPE = b"\x07_dfedge\x04_tcp\x05local\x00"
POINTER = b"\xc0\x0c"  # to the type, which stands first


def name(text: str) -> bytes:
    """One label."""
    return bytes([len(text)]) + text.encode()


def record(owner: bytes, kind: int, data: bytes, seconds: int) -> bytes:
    """One record of class IN that holds so long."""
    return owner + struct.pack(">HHIH", kind, 1, seconds, len(data)) + data


def claim(label: str, tag: str, node: str, address: str, seconds: int = 120) -> bytes:
    """What the node of that id says of itself: PTR, SRV, TXT and A in one packet. For 0 seconds it is a goodbye."""
    instance, host = name(label), name(f"host-{label}"[:63]) + b"\x05local\x00"
    texts = b"".join(name(text) for text in ("v=1", f"f={tag}", f"i={node}"))
    body = record(TYPE, 12, instance + POINTER, seconds)
    body += record(instance + POINTER, 33, struct.pack(">HHH", 0, 0, 7411) + host, seconds)
    body += record(instance + POINTER, 16, texts, seconds)
    body += record(host, 1, socket.inet_aton(address), seconds)
    return struct.pack(">HHHHHH", 0, 0x8400, 0, 4, 0, 0) + body


def announcement(number: int, tag: str, prefix: str) -> bytes:
    """What a node that does not exist says of itself."""
    node = base64.b32encode(os.urandom(33)).decode().lower()[:52]
    return claim(f"fake-{number}", tag, node, f"{prefix}.{150 + number % ADDRESSES}")


def mouth(own: str) -> socket.socket:
    """A socket that speaks mDNS from an address."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    out.bind((own, 5353))
    return out


def count_dials(listening: socket.socket, times: list[float]) -> None:
    """Accept for ever, and say nothing."""
    held = []
    while True:
        sock, _ = listening.accept()
        times.append(time.monotonic())
        held.append(sock)


def most_in_a_second(times: list[float]) -> int:
    """The most of them within any second."""
    return max((sum(0 <= other - at < 1.0 for other in times) for at in times), default=0)


def main(own: str, tag: str, count: int, per_s: int) -> None:
    """Lie, then listen for five seconds more."""
    times: list[float] = []
    listening = socket.create_server(("", 7411), backlog=256)
    threading.Thread(target=count_dials, args=(listening, times), daemon=True).start()
    out = mouth(own)
    prefix = own.rpartition(".")[0]
    started = time.monotonic()
    for number in range(count):
        out.sendto(announcement(number, tag, prefix), GROUP)
        ahead = started + number / per_s - time.monotonic()
        if ahead > 0.005:
            time.sleep(ahead)
    time.sleep(5)
    print(count, len(times), most_in_a_second(times), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
