"""Tell the LAN that we are here, and hear who else is, for as long as the host has a network to do it on."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import anyio

from dfedge.core.seams import NodeId
from dfedge.discovery.interface import Interface, Watch, read, usable
from dfedge.discovery.roster import Sighting
from dfedge.discovery.service import Clash, Service
from dfedge.discovery.text import Text, fleet_tag

SETTLE_S: Final = 0.3  # after a change of addresses: a DHCP client makes several at once
FIRST_RETRY_S: Final = 2.0
LAST_RETRY_S: Final = 60.0
FOREIGN_S: Final = 3600.0  # nodes announce themselves every half hour at least
MAX_FOREIGN: Final = 256

log = logging.getLogger("dfedge.discovery")
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # it logs tracebacks; we say in one line what is wrong


class Mdns:
    """mDNS/DNS-SD (RFC 6762, 6763) for one node. What it hears is hearsay; it passes on our fleet's alone.

    `interfaces` are names; none means every one on which neighbours may be. `on_sighting` is called for each address
    of a node, again and again, `on_gone` for goodbyes and records that ran out, `on_change` when our own addresses
    changed; they are called on the event loop and must not raise.
    """

    def __init__(
        self,
        own: NodeId,
        name: str,
        fleet: str,
        port: int,
        interfaces: tuple[str, ...],
        on_sighting: Callable[[Sighting], None],
        on_gone: Callable[[NodeId], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._text: Final = Text(fleet_tag(fleet), own)
        self._port: Final = port
        self._chosen: Final = interfaces
        self._on_sighting: Final = on_sighting
        self._on_gone: Final = on_gone
        self._on_change: Final = on_change
        self._name = name
        self._moving = False
        self.listening: tuple[str, ...] = ()
        """Names of the interfaces in use."""
        self.trouble = ""
        """Why mDNS does not work now, for people; empty when it does."""
        self._foreign: OrderedDict[str, float] = OrderedDict()  # of other fleets: when heard, longest quiet first

    def foreign(self) -> int:
        """How many nodes of other fleets were heard within the hour, up to MAX_FOREIGN: ours may be the wrong fleet."""
        now = time.monotonic()
        return sum(now - heard <= FOREIGN_S for heard in self._foreign.values())

    def _heard_foreign(self, instance: str) -> None:
        self._foreign[instance] = time.monotonic()
        self._foreign.move_to_end(instance)
        if len(self._foreign) > MAX_FOREIGN:
            self._foreign.popitem(last=False)

    async def run(self) -> None:
        """Announce and browse until cancelled; then say goodbye, within 2 s. Raises nothing of its own."""
        retry = FIRST_RETRY_S
        while True:
            try:
                with Watch() as watch:
                    await self._follow(watch)
            except OSError as error:
                self._complain(f"cannot read the network interfaces: {error}")
            await anyio.sleep(retry)
            retry = min(LAST_RETRY_S, retry * 2)

    async def _follow(self, watch: Watch) -> None:
        """Keep one service going on the interfaces that there are, and a new one whenever they change."""
        while True:
            found = usable(read(), self._chosen)
            if not found:
                among = f" among {', '.join(self._chosen)}" if self._chosen else ""
                self._complain(f"no interface with multicast and an address{among}")
                await watch.changed(SETTLE_S)
                continue
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, found)
                while usable(read(), self._chosen) == found:
                    await watch.changed(SETTLE_S)
                self._moving = True
                tasks.cancel_scope.cancel()
            self._moving = False
            self._on_change()

    async def _keep(self, found: tuple[Interface, ...]) -> None:
        """Serve on `found`; when that fails, say why once and try again later."""
        retry = FIRST_RETRY_S
        while True:
            heard = self._on_sighting, self._on_gone, self._heard_foreign
            service = Service(self._name, self._text, self._port, found, *heard)
            try:
                await self._serve(service, found)
            except Clash:
                taken = self._name
                self._name = f"{taken[:50]}-{self._text.id[:6]}"
                log.warning("event=mdns_name_taken name=%s now=%s", taken, self._name)
                continue
            except OSError as error:
                self._complain(str(error))
            await anyio.sleep(retry)
            retry = min(LAST_RETRY_S, retry * 2)

    async def _serve(self, service: Service, found: tuple[Interface, ...]) -> None:
        shared = False
        try:
            service.open()
            self.listening = tuple(one.name for one in found)
            self.trouble = ""
            log.info("event=mdns_on interfaces=%s port=%d", ",".join(self.listening), self._port)
            await service.run()
        except Clash:
            shared = True
            raise
        finally:
            self.listening = ()
            # Who only changes addresses must not be taken for gone, nor the other one that has our name.
            await service.close(goodbye=not self._moving and not shared)

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning('event=mdns_off reason="%s"', trouble)
        self.trouble = trouble
