"""Keeping connected: dials whom the roster names, and tells it how that went."""

import logging
import random
from collections.abc import Iterable
from typing import Final

import anyio
import anyio.abc

from dfedge.core.errors import Busy, DfedgeError, ProtocolError, Refused, Untrusted
from dfedge.core.seams import Clock, NodeId, PeerRecord
from dfedge.discovery.exchange import Network, admissible
from dfedge.discovery.interface import read, usable
from dfedge.discovery.neighbour import REST_S, REWIRE_S, Neighbourhood, on_link
from dfedge.discovery.roster import CAPACITY, Address, Candidate, Roster, Sighting
from dfedge.discovery.static import Peer as Listed
from dfedge.discovery.static import resolve
from dfedge.transfer.connection import Connection
from dfedge.transfer.dial import ask_id, dial
from dfedge.transfer.peers import MAKES_ROOM, Peer, Peers
from dfedge.transfer.ports import Gate

MAX_DIALS: Final = 8  # under way at once: a handshake is 10 ms of a small board's core
MAX_WANTED: Final = 4  # holders of what we seek, dialled though we have neighbours enough
COURTESY: Final = 1.5  # seconds the higher id waits for the lower to dial, as one session a pair is enough
RESOLVE_EVERY: Final = 60.0  # seconds between look-ups of listed names
LONGEST_SLEEP: Final = 30.0  # seconds
REST: Final = 1e-4  # seconds for each address between two looks at the roster: else a flood of news takes a whole core
log = logging.getLogger("dfedge.connect")


class Mesh:
    """The loop that connects this node to the others. Feed it sightings with `heard`."""

    def __init__(
        self, roster: Roster, peers: Peers, gate: Gate, clock: Clock, listed: Iterable[Listed], rng: random.Random
    ) -> None:
        self._roster = roster
        self._peers = peers
        self._gate = gate
        self._clock = clock
        self._listed = tuple(listed)
        self._rng = rng
        self._neighbourhood = Neighbourhood(roster, rng)
        self._news = anyio.Event()
        self._moved = anyio.Event()
        self._dialling: list[Candidate] = []
        self._known: set[Connection] = set()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._around: tuple[float, tuple[set[Network], set[str]]] | None = None
        self._near: dict[str, bool] = {}  # for each address looked at since `_around` was read

    def heard(self, sighting: Sighting) -> None:
        """Somebody says that a node is somewhere."""
        self._roster.heard(sighting, self._clock())
        self._news.set()

    def told(self, record: PeerRecord, host: str, port: int, asked: bool) -> None:
        """A neighbour told us of a node; one that we asked for, as it holds what we seek, is dialled at once."""
        if record.id in self._peers.ids or record.id in self._peers.bans:
            return
        networks, own = self._surroundings()
        listed = {(peer.host, peer.port) for peer in self._listed}
        if not admissible([(host, port)], networks, listed, own):
            return
        self.heard(Sighting(record.id, host, port, "pex", record.name))
        if (
            asked
            and self._tasks is not None
            and len(self._dialling) < MAX_DIALS
            and len(self._peers.wanted) < MAX_WANTED
        ):
            self._peers.wanted.add(record.id)
            self._start(Candidate(record.id, host, port), self._tasks)

    def _surroundings(self) -> tuple[set[Network], set[str]]:
        """The networks that we are on, and our addresses; read anew once a minute, and when they changed."""
        now = self._clock()
        if self._around is None or now - self._around[0] > RESOLVE_EVERY:
            try:
                addresses = [address for one in usable(read()) for address in one.addresses]
            except OSError:
                addresses = []
            self._near.clear()
            self._around = (now, ({one.network for one in addresses}, {str(one.ip) for one in addresses}))
        return self._around[1]

    def _is_near(self, host: str) -> bool:
        networks, _ = self._surroundings()
        near = self._near.get(host)
        if near is None:
            if len(self._near) >= CAPACITY:
                self._near.clear()
            near = self._near[host] = on_link(host, networks)
        return near

    def _links(self) -> dict[NodeId, str]:
        return {peer.connection.id: peer.host for peer in self._peers}

    def gone(self, node: NodeId) -> None:
        """Somebody says that a node is gone."""
        self._roster.gone(node, self._peers.ids)

    def network_changed(self) -> None:
        """Our own addresses changed; what failed may work now."""
        self._around = None
        self._roster.wake(self._clock())
        self._moved.set()
        self._news.set()

    async def run(self) -> None:
        """Dial until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._watch_peers)
            tasks.start_soon(self._test_sessions)
            tasks.start_soon(self._rewire)
            if self._listed:
                tasks.start_soon(self._resolve_listed)
            while True:
                now = self._clock()
                for node, until in self._peers.bans.items():
                    self._roster.rest(node, until)
                most = MAX_DIALS - len(self._dialling)
                for candidate in self._neighbourhood.dials(now, self._links(), self._dialling, most, self._is_near):
                    self._start(candidate, tasks)
                has_room = self._neighbourhood.room(self._peers.ids, self._dialling) and len(self._dialling) < MAX_DIALS
                pause = self._roster.next_dial(now, self._peers.ids) if has_room else None
                with anyio.move_on_after(min(pause if pause is not None else LONGEST_SLEEP, LONGEST_SLEEP)):
                    await self._news.wait()
                await anyio.sleep(REST * len(self._roster))
                self._news = anyio.Event()

    def _start(self, candidate: Candidate, tasks: anyio.abc.TaskGroup) -> None:
        self._dialling.append(candidate)
        tasks.start_soon(self._dial, candidate)

    async def _watch_peers(self) -> None:
        while True:
            current = {peer.connection: peer for peer in self._peers}
            for connection in current.keys() - self._known:
                self._note(current[connection])
            for connection in self._known - current.keys():
                if MAKES_ROOM in connection.reason:
                    self._roster.rest(connection.id, self._clock() + REST_S)
                self._news.set()
            self._known = set(current)
            await self._peers.changed()

    async def _rewire(self) -> None:
        """Exchange a neighbour now and then, while nothing moves, so that the fleet stays mixed."""
        while True:
            await anyio.sleep(REWIRE_S * self._rng.uniform(0.75, 1.25))
            if self._peers.are_busy or self._peers.wanted:
                continue
            leaver = self._neighbourhood.leaver(self._clock(), self._links(), self._is_near)
            if leaver is not None:
                self._peers.exchange(leaver)

    async def _test_sessions(self) -> None:
        """After a change of our addresses old sessions may lead nowhere; ask, rather than wait 20 s for keepalives."""
        while True:
            await self._moved.wait()
            self._moved = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for peer in self._peers:
                    tasks.start_soon(self._test, peer.connection)

    async def _test(self, connection: Connection) -> None:
        if not await connection.alive():
            connection.close("timeout", "no answer since our network changed")

    def _note(self, peer: Peer) -> None:
        connection, address = peer.connection, peer.listens
        if connection.dialled or address is None:
            self._roster.proven(connection.id, None, self._clock())
        else:
            self._roster.met(connection.id, address, connection.name, self._clock())

    async def _resolve_listed(self) -> None:
        known: dict[Listed, tuple[str, ...]] = {}
        while True:
            for peer in self._listed:
                found = await resolve(peer)
                for host in set(known.get(peer, ())) - set(found) if found else ():
                    self._roster.unlist((host, peer.port))
                for host in found:
                    self.heard(Sighting(None, host, peer.port, "static"))
                known[peer] = found or known.get(peer, ())
                if not known[peer]:
                    log.warning("peer not found host=%s", peer.host)
            await anyio.sleep(RESOLVE_EVERY if all(known.values()) else RESOLVE_EVERY / 6)

    async def _dial(self, candidate: Candidate) -> None:
        address = (candidate.host, candidate.port)
        node = candidate.id
        try:
            if node is not None and self._gate.own_id > node:
                await self._wait_for(node)
            if node is None:
                node = await ask_id(*address, self._gate.identify)
            if node == self._gate.own_id or self._peers.get(node) is not None:
                self._roster.proven(node, address, self._clock())
                return
            connection = await dial(*address, node, self._gate)
            self._roster.proven(node, address, self._clock())
        except DfedgeError as error:
            self._failed(address, candidate.id, error)
            if node is not None:
                self._peers.wanted.discard(node)
            log.info("dial failed host=%s port=%d reason=%s", *address, error)
            return
        finally:
            self._dialling.remove(candidate)
            self._news.set()
        try:
            await self._peers.host(connection)
        except DfedgeError as error:
            if self._peers.get(node) is not None:  # of two dials between a pair one is always in vain
                self._roster.proven(node, address, self._clock())
            else:
                self._failed(address, node, error)
            level = logging.DEBUG if isinstance(error, Busy) else logging.INFO  # that two dial each other is usual
            log.log(level, "session failed host=%s port=%d reason=%s", *address, error)

    def _failed(self, address: Address, node: NodeId | None, error: DfedgeError) -> None:
        """A node that is off or has neighbours enough does not refuse us."""
        refused = isinstance(error, Untrusted | Refused | ProtocolError)
        self._roster.failed(address, node, str(error), self._clock(), refused=refused)

    async def _wait_for(self, node: NodeId) -> None:
        with anyio.move_on_after(COURTESY):
            while self._peers.get(node) is None:
                await self._peers.changed()
