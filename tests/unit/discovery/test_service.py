"""What a node says by mDNS: little, and rarely, so that a large fleet is no load on a slow wireless LAN."""

import ipaddress
from functools import partial

import anyio
import pytest
from zeroconf import Zeroconf

from dfedge.core.seams import NodeId
from dfedge.discovery.interface import Interface
from dfedge.discovery.service import LONGEST_REPEAT_S, REPEAT_S, Service, repeat_after
from dfedge.discovery.text import Text, encode

TEXT = Text("abcdefgh", NodeId("abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"))
REFRESH_S = 0.75 * 4500  # when a browser asks whether a service is still there (RFC 6762, 5.2 and 10)


def test_the_text_record_holds_what_is_needed_and_nothing_else() -> None:
    assert len(encode(TEXT)) == 70


def test_an_announcement_fits_a_small_packet() -> None:
    addresses = ("192.168.104.117/24", "fe80::1234:5678:9abc:def0/64", "2001:db8:1234:5678:9abc:def0:1234:5678/64")
    interface = Interface("eth0", 2, 0, False, tuple(map(ipaddress.ip_interface, addresses)))
    nobody = (lambda _: None,) * 3
    service = Service("gateway-in-hall-2-line-14", TEXT, 7411, (interface,), *nobody)
    out = Zeroconf.__new__(Zeroconf).generate_service_broadcast(service._info(), None)  # spelling needs no socket
    anyio.run(partial(service.close, goodbye=False))
    [packet] = out.packets()
    assert len(packet) <= 400


@pytest.mark.parametrize("nodes", [0, 7, 60, 300, 1000, 1740])
def test_a_fleet_announces_itself_about_once_a_second_at_most_however_large_it_is(nodes: int) -> None:
    shares = [number / 1000 for number in range(1000)]
    a_second = sum((nodes + 1) / len(shares) / repeat_after(nodes, share) for share in shares)
    assert a_second <= 1.05


def test_a_node_is_heard_again_before_others_ask_whether_it_is_there() -> None:
    assert repeat_after(4096, 1.0) < REFRESH_S
    assert repeat_after(0, 1.0) < 2 * REPEAT_S
    assert repeat_after(100_000, 0.5) == LONGEST_REPEAT_S
