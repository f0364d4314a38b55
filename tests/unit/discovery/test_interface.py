"""The host's interfaces: neighbours are not looked for inside container bridges."""

import ipaddress

import pytest

from dfedge.discovery.interface import Interface, read, usable

MULTICAST, LOOPBACK = 0x1000, 0x8
IPV4, LOCAL = ipaddress.IPv4Interface("10.0.0.1/24"), ipaddress.IPv6Interface("fe80::1/64")


def interface(
    name: str, *addresses: ipaddress.IPv4Interface | ipaddress.IPv6Interface, port: bool = False
) -> Interface:
    return Interface(name, 2, MULTICAST, port, addresses or (IPV4, LOCAL))


def test_the_loopback_is_listed_with_its_address() -> None:
    [loopback] = [one for one in read() if one.name == "lo"]
    assert "127.0.0.1/8" in map(str, loopback.addresses)
    assert not loopback.speaks_multicast


@pytest.mark.parametrize("name", ["eth0", "wlan0", "end0", "br-lan", "br0", "enp3s0.10", "usb0", "bond0"])
def test_neighbours_are_looked_for_on_the_networks_of_a_board(name: str) -> None:
    assert usable((interface(name),))


@pytest.mark.parametrize("name", ["docker0", "br-0123456789ab", "veth12ab", "virbr0", "cni0", "flannel.1", "podman1"])
def test_nobody_is_told_the_address_that_every_host_has_inside(name: str) -> None:
    assert not usable((interface(name),))
    assert usable((interface(name),), (name,)), "the operator's choice stands"


def test_a_chosen_interface_is_the_only_one_used() -> None:
    assert [one.name for one in usable((interface("eth0"), interface("wlan0")), ("wlan0",))] == ["wlan0"]


def test_the_ports_of_a_bridge_are_not_spoken_on_but_a_port_with_an_address_is() -> None:
    assert not usable((interface("eth1", LOCAL, port=True),))
    assert usable((interface("eth1", IPV4, LOCAL, port=True),))
