"""What we take of addresses that peers tell us: on-link or listed ones only, and few.

Else one bad node could point a whole fleet at a stranger, or make it scan the internet.
"""

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

MAX_ENTRIES: Final = 32  # of one message
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def admissible(
    offered: Iterable[tuple[str, int]],
    on_link: Collection[Network],
    listed: Collection[tuple[str, int]] = (),
    own: Collection[str] = (),
) -> list[tuple[str, int]]:
    """Keep, in their order, the offered (host, port) that we may dial; looks at no more than 32 of them.

    `on_link` are the networks of our interfaces, `listed` the operator's peers, `own` our addresses. Link-local
    addresses are dropped: their scope means nothing on another node.
    """
    kept: list[tuple[str, int]] = []
    for count, (host, port) in enumerate(offered):
        if count >= MAX_ENTRIES:
            break
        if (host, port) in kept or not 1 <= port <= 65535:
            continue
        if (host, port) in listed or (host not in own and _is_on_link(host, on_link)):
            kept.append((host, port))
    return kept


def _is_on_link(host: str, on_link: Collection[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if str(address) != host:  # one spelling, so that nothing is dialled twice
        return False
    if address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified:
        return False
    for network in on_link:
        if address.version == network.version and address in network:
            edges = (network.network_address, network.broadcast_address)
            return network.version == 6 or network.prefixlen >= 31 or address not in edges
    return False
