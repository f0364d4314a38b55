"""One run of mDNS on a fixed set of interfaces: all that we ask of zeroconf is here."""

import asyncio
import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import anyio

from dfedge.core.seams import NodeId
from dfedge.discovery.address import dialable
from dfedge.discovery.interface import Interface
from dfedge.discovery.roster import CAPACITY, Sighting
from dfedge.discovery.text import Text, decode, encode

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

TYPE: Final = "_dfedge._tcp.local."
CLOSE_S: Final = 2.0
UNFINISHED: Final = 64  # names of which we heard, but not yet where they are
RESOLVE_MS: Final = 2000
RESOLVERS: Final = 4
MAX_UNSENT: Final = 16 * 1024 * 1024  # bytes; all 10,000 records that zeroconf keeps, in a question, are far less
LOOKS_PER_S: Final = 200  # instances looked at; each costs 0.1 ms, and a liar on the LAN can name thousands a second
REPEAT_S: Final = 60.0  # between announcements of a lone node; a network that healed says nothing
LONGEST_REPEAT_S: Final = 1800.0  # with its spread under 3,375 s, when others would ask whether we are still there

log = logging.getLogger("dfedge.discovery")


class Clash(Exception):
    """Another node has our instance name."""


def repeat_after(nodes: int, share: float) -> float:
    """Seconds between a node's announcements where it hears of `nodes` others: the fleet's are at most about one a
    second however large it is, until at 1,740 nodes the longest is reached. `share`, 0 to 1, spreads the nodes.
    """
    return min(REPEAT_S + nodes, LONGEST_REPEAT_S) * (0.75 + 0.5 * share)


class Service:
    """open(), run() until cancelled, close(). open() and run() raise OSError and Clash, and nothing of zeroconf's."""

    def __init__(
        self,
        name: str,
        text: Text,
        port: int,
        interfaces: tuple[Interface, ...],
        on_sighting: Callable[[Sighting], None],
        on_gone: Callable[[NodeId], None],
        on_foreign: Callable[[str], None],
    ) -> None:
        self._name: Final = name
        self._text: Final = text
        self._port: Final = port
        self._interfaces: Final = interfaces
        self._on_sighting: Final = on_sighting
        self._on_gone: Final = on_gone
        self._on_foreign: Final = on_foreign
        self._ids: Final[OrderedDict[str, NodeId]] = OrderedDict()  # by instance, for goodbyes
        self._put, self._take = anyio.create_memory_object_stream[str](UNFINISHED)
        self._late: Final[OrderedDict[str, None]] = OrderedDict()  # instances to be looked at when there is time
        self._second, self._looks = 0.0, 0
        self._clash: Final = anyio.Event()
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None

    def open(self) -> None:
        """Open the sockets. Raises OSError, as when another program holds port 5353 for itself."""
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncZeroconf

        library = logging.getLogger("zeroconf")
        if library.level == logging.NOTSET:
            library.setLevel(logging.CRITICAL)  # it warns of each packet on a link that is down
        where = _binding(self._interfaces)
        versions = {ipaddress.ip_address(one).version for one in where}
        version = IPVersion.All if len(versions) == 2 else IPVersion.V6Only if 6 in versions else IPVersion.V4Only
        try:
            self._zeroconf = AsyncZeroconf(interfaces=where, ip_version=version)
        except RuntimeError as error:  # an address went away since we listed it
            raise OSError(str(error)) from error

    async def run(self) -> None:
        """Browse, then announce, and again every minute or so."""
        from zeroconf import Error, NonUniqueNameException
        from zeroconf.asyncio import AsyncServiceBrowser

        assert self._zeroconf is not None
        inner = self._zeroconf.zeroconf
        info = self._info()
        try:
            await inner.async_wait_for_start()
            for sender in inner.engine.senders:  # it knows no back-pressure, and errs where asyncio tells it of some
                cast("asyncio.WriteTransport", sender.transport).set_write_buffer_limits(high=MAX_UNSENT)
            async with anyio.create_task_group() as tasks:
                for _ in range(RESOLVERS):
                    tasks.start_soon(self._resolve)
                tasks.start_soon(self._catch_up)
                # First, so that the replies arrive while our own name is being probed for.
                self._browser = AsyncServiceBrowser(inner, TYPE, handlers=[self._changed])
                announced = await self._zeroconf.async_register_service(info)
                await announced
                tasks.start_soon(self._repeat, info)
                await self._clash.wait()
                tasks.cancel_scope.cancel()
        except* NonUniqueNameException as group:
            raise Clash from group
        except* (Error, RuntimeError, TimeoutError) as group:
            raise OSError(f"{type(group.exceptions[0]).__name__}: {group.exceptions[0]}") from group
        raise Clash

    async def close(self, *, goodbye: bool) -> None:
        """Close the sockets, after a goodbye or without a word. Takes 2 s at most, also when cancelled."""
        from zeroconf import Error

        self._put.close()
        self._take.close()
        if self._zeroconf is None:
            return
        with anyio.move_on_after(CLOSE_S, shield=True):
            try:
                if self._browser is not None:
                    await self._browser.async_cancel()
                if not goodbye:
                    registry = self._zeroconf.zeroconf.registry
                    registry.async_remove(registry.async_get_service_infos())
                await self._zeroconf.async_close()
            except (Error, OSError, RuntimeError, TimeoutError) as error:
                log.debug('event=mdns_close_failed reason="%s"', error)

    def _info(self) -> "ServiceInfo":
        from zeroconf import ServiceInfo

        return ServiceInfo(
            TYPE,
            f"{self._name}.{TYPE}",
            self._port,
            properties=encode(self._text),
            server=f"dfedge-{self._text.id[:20]}.local.",  # of the id, so that address records never clash
            parsed_addresses=[str(address.ip) for one in self._interfaces for address in one.addresses],
        )

    async def _repeat(self, info: "ServiceInfo") -> None:
        assert self._zeroconf is not None
        inner = self._zeroconf.zeroconf
        share = int.from_bytes(self._text.id[:4].encode()) % 1000 / 1000  # spreads the nodes, and needs no randomness
        while True:
            await anyio.sleep(repeat_after(len(self._ids), share))
            inner.async_send(inner.generate_service_broadcast(info, None))
            self._remind()

    def _remind(self) -> None:
        """Tell again of those who announced themselves lately: the browser is silent about what did not change."""
        from zeroconf.asyncio import AsyncServiceInfo

        assert self._zeroconf is not None
        inner = self._zeroconf.zeroconf
        for name in list(self._ids):
            info = AsyncServiceInfo(TYPE, name)
            if info.load_from_cache(inner):
                self._sighted(info)
        for record in inner.cache.entries_with_name(TYPE):  # those that a flood made us pass over
            name = getattr(record, "alias", "")
            if name and name not in self._ids and len(self._late) < CAPACITY:
                self._late[name] = None

    def _changed(
        self,
        zeroconf: "Zeroconf",  # noqa: ARG002 - zeroconf's signature
        service_type: str,  # noqa: ARG002
        name: str,
        state_change: "ServiceStateChange",
    ) -> None:
        """What the browser noticed. Announcements are complete, so most need no question and no queue."""
        from zeroconf import ServiceStateChange

        if state_change is ServiceStateChange.Removed:
            node = self._ids.pop(name, None)
            if node is not None:
                self._on_gone(node)
            return
        now = anyio.current_time()
        if now - self._second >= 1.0:
            self._second, self._looks = now, 0
        self._looks += 1
        if self._looks <= LOOKS_PER_S:
            self._look(name)
        elif len(self._late) < CAPACITY:
            self._late[name] = None

    async def _catch_up(self) -> None:
        """Look at what a flood made late, in the order in which it came."""
        while True:
            await anyio.sleep(1.0 if self._late else REPEAT_S / 6)
            for name in list(self._late)[: LOOKS_PER_S // 2]:
                del self._late[name]
                self._look(name)

    def _look(self, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        assert self._zeroconf is not None
        info = AsyncServiceInfo(TYPE, name)
        if info.load_from_cache(self._zeroconf.zeroconf):
            self._sighted(info)
            return
        try:
            self._put.send_nowait(name)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            log.debug("event=mdns_name_dropped")  # it will be announced again

    async def _resolve(self) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        assert self._zeroconf is not None
        async for name in self._take:
            info = AsyncServiceInfo(TYPE, name)
            if await info.async_request(self._zeroconf.zeroconf, RESOLVE_MS):
                self._sighted(info)

    def _sighted(self, info: "ServiceInfo") -> None:
        from zeroconf import IPVersion

        instance = info.name.removesuffix(f".{TYPE}")
        try:
            text = decode(info.text or b"")
        except ValueError as error:
            log.debug('event=mdns_text_refused reason="%s"', error)
            return
        if instance == self._name and text.id < self._text.id:
            self._clash.set()  # two nodes took one name at once: the lower id keeps it
        if text.fleet != self._text.fleet:
            self._on_foreign(instance)
            return
        if text.id == self._text.id:
            return
        self._ids[info.name] = text.id
        self._ids.move_to_end(info.name)
        if len(self._ids) > CAPACITY:
            self._ids.popitem(last=False)
        for host in dialable(info.parsed_scoped_addresses(IPVersion.All), self._interfaces):
            self._on_sighting(Sighting(text.id, host, info.port or 0, "mdns", instance))


def _binding(interfaces: tuple[Interface, ...]) -> list[str]:
    """The addresses to speak from: of each interface its IPv4 ones and one of IPv6, link-local before others."""
    found = []
    for one in interfaces:
        found += [str(address.ip) for address in one.addresses if address.version == 4]
        newer = sorted((a for a in one.addresses if a.version == 6), key=lambda a: not a.is_link_local)
        found += [str(address.ip) for address in newer[:1]]
    return found
