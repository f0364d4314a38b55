"""The host's network interfaces and addresses, and when they change: rtnetlink, so an idle node asks nothing."""

import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import anyio

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

MAX_ADDRESSES: Final = 8  # of one interface; a host may have hundreds
_BUFFER: Final = 64 * 1024  # bytes; the kernel fills at most 32 KiB at once
_REPLY_S: Final = 2.0
# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h
_GET_LINK, _GET_ADDRESS, _NEW_LINK, _NEW_ADDRESS = 18, 22, 16, 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP: Final = 0x301
_GROUPS: Final = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_LINK_NAME, _LINK_MASTER = 3, 10
_ADDRESS, _LOCAL_ADDRESS, _ADDRESS_FLAGS = 1, 2, 8
_UP, _LOOPBACK, _RUNNING, _MULTICAST = 0x1, 0x8, 0x40, 0x1000
_UNSETTLED: Final = 0x01 | 0x08 | 0x40  # IPv6: temporary, duplicate, tentative
_HEADER, _LINK, _ADDR, _ATTRIBUTE = (struct.Struct(f) for f in ("=IHHII", "=BxHiII", "=BBBBi", "=HH"))

# Bridges and ports of container engines: on every host the same address, and no neighbour behind it.
_INNER: Final = re.compile(r"(docker|podman|lxcbr|lxdbr|virbr|cni)[0-9]+|br-[0-9a-f]{12}|(veth|cali|flannel|vnet).*")


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that is up, and its settled addresses."""

    name: str
    index: int
    flags: int
    is_port: bool  # of a bridge or bond
    addresses: tuple[Address, ...]

    @property
    def speaks_multicast(self) -> bool:
        return bool(self.flags & _MULTICAST) and not self.flags & _LOOPBACK and bool(self.addresses)


def usable(interfaces: tuple[Interface, ...], chosen: tuple[str, ...] = ()) -> tuple[Interface, ...]:
    """Those on which neighbours may be: the chosen names, or all but those of container engines and bridge ports."""
    if chosen:
        return tuple(one for one in interfaces if one.name in chosen and one.speaks_multicast)
    return tuple(
        one
        for one in interfaces
        if one.speaks_multicast
        and not _INNER.fullmatch(one.name)
        and not (one.is_port and all(address.is_link_local for address in one.addresses))
    )


def read() -> tuple[Interface, ...]:
    """Ask the kernel for the interfaces that are up. Raises OSError when it does not answer."""
    links: dict[int, tuple[str, int, bool]] = {}
    addresses: dict[int, list[Address]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_REPLY_S)
        for body in _dump(kernel, _GET_LINK, _NEW_LINK):
            _, _, index, flags, _ = _LINK.unpack_from(body)
            attributes = _attributes(body[_LINK.size :])
            name = attributes.get(_LINK_NAME, b"").rstrip(b"\0").decode("ascii", "replace")
            if flags & _UP and flags & _RUNNING:
                links[index] = (name, flags, _LINK_MASTER in attributes)
        for body in _dump(kernel, _GET_ADDRESS, _NEW_ADDRESS):
            family, prefix, flags, _, index = _ADDR.unpack_from(body)
            attributes = _attributes(body[_ADDR.size :])
            raw = attributes.get(_LOCAL_ADDRESS) or attributes.get(_ADDRESS, b"")
            if _ADDRESS_FLAGS in attributes:
                flags = struct.unpack_from("=I", attributes[_ADDRESS_FLAGS])[0]
            if family == socket.AF_INET and len(raw) == 4:
                addresses.setdefault(index, []).append(ipaddress.IPv4Interface((raw, prefix)))
            elif family == socket.AF_INET6 and len(raw) == 16 and not flags & _UNSETTLED:
                addresses.setdefault(index, []).append(ipaddress.IPv6Interface((raw, prefix)))
    return tuple(
        Interface(name, index, flags & (_LOOPBACK | _MULTICAST), is_port, tuple(sorted(found, key=str)[:MAX_ADDRESSES]))
        for index, (name, flags, is_port) in sorted(links.items())
        for found in [addresses.get(index, [])]
    )


class Watch:
    """Tells when links or addresses change. Raises OSError when the kernel does not let us listen."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, _GROUPS))
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def changed(self, settle: float) -> None:
        """Wait until something changed, then `settle` seconds more for the rest of it."""
        await anyio.wait_readable(self._socket)
        await anyio.sleep(settle)
        try:
            while self._socket.recv(_BUFFER):
                pass
        except OSError:
            pass  # drained, or more came than the socket holds: changed either way


def _dump(kernel: socket.socket, request: int, wanted: int) -> Iterator[bytes]:
    kernel.send(_HEADER.pack(_HEADER.size + 4, request, _REQUEST_DUMP, request, 0) + bytes(4))
    while True:
        data = kernel.recv(_BUFFER)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _DONE or length < _HEADER.size:
                return
            if kind == _ERROR:
                raise OSError("the kernel refuses to list the network interfaces")
            if kind == wanted:
                yield data[_HEADER.size : length]
            data = data[length + 3 & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]
    return found
