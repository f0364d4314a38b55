"""Which of the addresses that a record names may be a neighbour's, and how we must write them to dial them."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from dfedge.discovery.interface import Interface

MAX_OFFERED: Final = 16  # looked at, of one record
MAX_KEPT: Final = 8


def dialable(offered: Sequence[str], interfaces: tuple[Interface, ...]) -> list[str]:
    """Keep what can be dialled through `interfaces`: on-link addresses first, IPv4 before IPv6 before link-local.

    Off the link only private addresses are kept (a reflector may join two LANs): else anybody on the LAN could send
    a fleet to knock at a stranger's door. Link-local ones get the name of their interface as scope.
    """
    ours = [address for one in interfaces for address in one.addresses]
    near: list[str] = []
    far: list[str] = []
    for written in offered[:MAX_OFFERED]:
        try:
            address = ipaddress.ip_address(written)
        except ValueError:
            continue
        if address.is_loopback or address.is_multicast or address.is_unspecified:
            continue
        if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
            near += _scoped(address, interfaces)
        elif any(address in own.network for own in ours if own.version == address.version):
            near.append(str(address))
        elif address.is_private:
            far.append(str(address))
    near.sort(key=lambda host: (":" in host, "%" in host))
    return list(dict.fromkeys([*near, *far]))[:MAX_KEPT]


def _scoped(address: ipaddress.IPv6Address, interfaces: tuple[Interface, ...]) -> list[str]:
    """With the interface that it was heard on; all that it may be on when it came without, as by an IPv4 packet."""
    bare = str(address).partition("%")[0]
    if address.scope_id is None:
        return [f"{bare}%{one.name}" for one in interfaces if any(own.version == 6 for own in one.addresses)]
    scope = address.scope_id
    if scope.isdigit():
        try:
            scope = socket.if_indextoname(int(scope))
        except (OSError, OverflowError):
            return []
    return [f"{bare}%{scope}"]
