"""Peer exchange: a bad node cannot send a fleet anywhere but to its own neighbours."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from dfedge.discovery.exchange import MAX_ENTRIES, admissible

LAN = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("2001:db8::/64"))


def test_neighbours_and_listed_addresses_pass_and_strangers_do_not() -> None:
    offered = [
        ("10.0.0.7", 7411),
        ("2001:db8::7", 7411),
        ("198.51.100.1", 7411),
        ("203.0.113.9", 7411),
        ("127.0.0.1", 22),
        ("224.0.0.251", 5353),
        ("10.0.0.255", 7411),
        ("10.0.0.0", 7411),
        ("fe80::1%eth0", 7411),
        ("gateway.example", 80),
        ("2001:DB8::8", 7411),
        ("10.0.0.8", 0),
        ("10.0.0.7", 7411),
        ("10.0.0.1", 7411),
    ]
    kept = admissible(offered, LAN, listed=[("203.0.113.9", 7411)], own=["10.0.0.1"])
    assert kept == [("10.0.0.7", 7411), ("2001:db8::7", 7411), ("203.0.113.9", 7411)]


@given(st.lists(st.tuples(st.ip_addresses().map(str) | st.text(max_size=30), st.integers(-1, 70000)), max_size=100))
def test_no_message_yields_more_than_its_share_or_a_stranger(offered: list[tuple[str, int]]) -> None:
    kept = admissible(offered, LAN)
    assert len(kept) <= MAX_ENTRIES
    assert all(any(ipaddress.ip_address(host) in network for network in LAN) for host, _ in kept)


def test_an_endless_message_is_not_read_to_its_end() -> None:
    assert len(admissible((("10.0.0.7", port) for port in range(1, 10**9)), LAN)) == MAX_ENTRIES
