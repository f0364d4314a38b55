"""Addresses from the LAN: what anybody claims must not send a node to strangers, or to nowhere."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from dfedge.discovery.address import MAX_KEPT, dialable
from dfedge.discovery.interface import Interface

ETH = Interface(
    "eth0",
    2,
    0x1000,
    False,
    tuple(ipaddress.ip_interface(text) for text in ("10.0.0.1/24", "2001:db8:1::1/64", "fe80::1/64")),
)
WLAN = Interface("wlan0", 3, 0x1000, False, (ipaddress.ip_interface("fe80::2/64"),))


def test_neighbours_come_first_and_strangers_not_at_all() -> None:
    offered = ["198.18.0.1", "172.16.5.5", "8.8.8.8", "2600::1", "fe80::9%lo", "2001:db8:1::9", "10.0.0.9", "127.0.0.1"]
    assert dialable(offered, (ETH,)) == ["10.0.0.9", "2001:db8:1::9", "fe80::9%lo", "198.18.0.1", "172.16.5.5"]


def test_a_link_local_address_that_came_without_its_interface_is_tried_on_each() -> None:
    assert dialable(["fe80::9"], (ETH, WLAN)) == ["fe80::9%eth0", "fe80::9%wlan0"]


def test_the_number_of_an_interface_becomes_its_name_and_an_unknown_one_is_dropped() -> None:
    assert dialable(["fe80::9%1", "fe80::9%4000000000"], (ETH,)) == ["fe80::9%lo"]


@given(st.lists(st.ip_addresses().map(str) | st.text(max_size=20), max_size=60))
def test_no_record_yields_more_than_a_few_or_a_public_address_off_the_link(offered: list[str]) -> None:
    kept = dialable(offered, (ETH, WLAN))
    assert len(kept) <= MAX_KEPT
    for host in map(ipaddress.ip_address, kept):
        assert host.is_private or any(host in own.network for own in ETH.addresses if own.version == host.version)
