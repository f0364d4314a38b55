"""Which way an address lies: through which interface, and whether a router stands between (the kernel's tables)."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_KEPT: Final = 1024  # answers
_UP: Final = 0x1
_GATEWAY: Final = 0x2
_REJECT: Final = 0x200


@dataclass(frozen=True, slots=True)
class Route:
    """Where bytes for an address go."""

    interface: str  # empty: nobody knows
    on_link: bool  # no router between: the LAN


NOWHERE: Final = Route("", on_link=False)


class Routes:
    """The routing tables, as of the last `refresh`; and networks that count as LAN all the same."""

    def __init__(self, lan_prefixes: Iterable[str] = (), proc: Path = Path("/proc")) -> None:
        """Raises ValueError for a prefix that is none."""
        self._lan = [ipaddress.ip_network(prefix) for prefix in lan_prefixes]
        self._proc = proc
        self._table: list[tuple[Network, Route]] = []
        self._text = ("", "")
        self._kept: dict[str, Route] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the tables anew; true if they have changed."""
        text = (_read(self._proc / "net/route"), _read(self._proc / "net/ipv6_route"))
        if text == self._text:
            return False
        self._text = text
        table = [*_parse4(text[0]), *_parse6(text[1])]
        self._table = sorted(table, key=lambda entry: -entry[0].prefixlen)
        self._kept.clear()
        return True

    def count_as_lan(self, prefixes: Iterable[str]) -> None:
        """Other networks count as LAN from now on."""
        self._lan = [ipaddress.ip_network(prefix) for prefix in prefixes]
        self._kept.clear()

    def of(self, address: str) -> Route:
        """The route of `host:port` or `[v6%scope]:port`."""
        route = self._kept.get(address)
        if route is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            route = self._kept[address] = self._find(address.rpartition(":")[0].strip("[]"))
        return route

    def _find(self, host: str) -> Route:
        bare, _, scope = host.partition("%")
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            return NOWHERE
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback:
            return Route("lo", on_link=True)
        if scope:
            return Route(scope, on_link=True)
        route = next((route for network, route in self._table if address in network), NOWHERE)
        if not route.on_link and any(address in network for network in self._lan):
            return Route(route.interface, on_link=True)
        return route


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _parse4(text: str) -> Iterable[tuple[Network, Route]]:
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or not int(fields[3], 16) & _UP or int(fields[3], 16) & _REJECT:
            continue
        target, mask = (int.from_bytes(bytes.fromhex(fields[at])[::-1], "big") for at in (1, 7))
        network = ipaddress.ip_network((target, mask.bit_count()), strict=False)
        yield network, Route(fields[0], on_link=not int(fields[3], 16) & _GATEWAY)


def _parse6(text: str) -> Iterable[tuple[Network, Route]]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or not int(fields[8], 16) & _UP or int(fields[8], 16) & _REJECT:
            continue
        network = ipaddress.ip_network((int(fields[0], 16).to_bytes(16, "big"), int(fields[1], 16)), strict=False)
        yield network, Route(fields[9], on_link=not int(fields[8], 16) & _GATEWAY)
