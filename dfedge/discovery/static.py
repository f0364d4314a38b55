"""Peers that the operator lists: `host`, `host:port`, `[v6%scope]:port`."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

import anyio

from dfedge.core.errors import UsageError
from dfedge.core.units import host_port

DEFAULT_PORT: Final = 7411
RESOLVE_S: Final = 5.0  # a dead resolver must not hold up those that are given as addresses
MAX_ADDRESSES: Final = 8  # of one name
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_EXAMPLE: Final = 'write one as in "192.0.2.7", "kiosk-07.lan:7411" or "[fe80::1%eth0]:7411"'


@dataclass(frozen=True, slots=True)
class Peer:
    """A listed peer: a name or an address, and a port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return host_port(self.host, self.port)


def parse(text: str) -> Peer:
    """Read one listed peer. Raises UsageError that says how to write one."""
    written = text.strip()
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::([0-9]{1,5}))?", written)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif written.count(":") > 1:  # IPv6 without a port
        host, port = written, None
    else:
        host, colon, rest = written.partition(":")
        port = rest if colon else None
    number = DEFAULT_PORT if port is None else int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
    if not 1 <= number <= 65535:
        raise UsageError(f'peer "{text}": the port is not 1 to 65535; {_EXAMPLE}')
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UsageError(f'peer "{text}": {host} is not an IPv6 address; {_EXAMPLE}') from error
        if address.is_link_local and not address.scope_id:
            raise UsageError(f'peer "{text}": a link-local address needs its interface, as in "[{host}%eth0]:{number}"')
        return Peer(str(address), number)
    if bracketed or not _HOST.fullmatch(host):
        raise UsageError(f'peer "{text}": "{host}" is not a host; {_EXAMPLE}')
    if re.fullmatch(r"[0-9.]+", host):
        try:
            host = str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise UsageError(f'peer "{text}": {host} is not an IPv4 address; {_EXAMPLE}') from error
    return Peer(host, number)


async def resolve(peer: Peer, timeout: float = RESOLVE_S) -> tuple[str, ...]:
    """Find a peer's addresses, IPv6 link-local ones with their scope; empty when its name has none in `timeout` s."""
    try:
        return (str(ipaddress.ip_address(peer.host)),)
    except ValueError:
        pass
    found: list[str] = []
    try:
        with anyio.move_on_after(timeout):
            for entry in await anyio.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM):
                host = str(entry[4][0])
                if host not in found:
                    found.append(host)
    except (OSError, UnicodeError):
        return ()
    return tuple(found[:MAX_ADDRESSES])
