"""Who we are connected to: one session per pair of nodes, whoever dialled, and what each peer holds."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

from dfedge.core.errors import Busy, DfedgeError, ProtocolError, Refused, Untrusted
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.swarm.blame import Blame
from dfedge.core.wire import message as m
from dfedge.transfer.connection import Connection, Inbox
from dfedge.transfer.downlink import Downlink
from dfedge.transfer.ports import Gate
from dfedge.transfer.serve import Line, Uplink

MAX_CONNECTIONS: Final = 24  # sessions; each may hold a window of 1 MiB
NEEDY: Final = 8  # a node with fewer sessions is let in even if that ends one of ours
MAKES_ROOM: Final = "makes room for"  # so begins the reason of who parts with a peer that did nothing wrong
MAX_DISTRUSTED: Final = 64  # images whose manifests did not hold, remembered of one peer
MAX_CATALOGUE: Final = 4096  # images remembered of one peer
log = logging.getLogger("dfedge.transfer")


class Members(Inbox, Protocol):
    """Who looks after the swarms that peers are in."""

    def on_connected(self, connection: Connection) -> None: ...

    def on_disconnected(self, connection: Connection) -> None: ...


@dataclass(slots=True)
class Peer:
    """A connected peer, and what it says it holds."""

    connection: Connection
    since: float  # monotonic seconds
    catalogue: dict[ImageId, m.Entry] = field(default_factory=dict)
    distrusted: dict[ImageId, DfedgeError] = field(default_factory=dict)  # images whose manifest did not hold

    @property
    def is_busy(self) -> bool:
        """Whether blocks are on their way in either direction."""
        line = self.connection.line
        return bool(self.connection.asker.outstanding or (line is not None and line.queue))

    @property
    def host(self) -> str:
        """The peer's address."""
        return self.connection.endpoint[0]

    @property
    def listens(self) -> tuple[str, int] | None:
        """Where the peer can be dialled: there if we did, else at the port that it says; None before its hello."""
        connection = self.connection
        if connection.dialled:
            return connection.endpoint
        return (self.host, connection.hello.port) if connection.hello is not None else None

    def distrust(self, image: ImageId, error: DfedgeError) -> None:
        """Remember that this peer's manifest of an image does not hold, and why."""
        if len(self.distrusted) >= MAX_DISTRUSTED:
            self.distrusted.pop(next(iter(self.distrusted)))
        self.distrusted[image] = error


class Peers:
    """The table of sessions. `members` and `hello` are set by whoever wires the node, before the first session."""

    def __init__(
        self,
        gate: Gate,
        uplink: Uplink,
        downlink: Downlink,
        blame: Blame,
        hello: Callable[[int], m.Hello],
        rng: random.Random,
    ) -> None:
        self._gate = gate
        self._uplink = uplink
        self._downlink = downlink
        self._blame = blame
        self._hello = hello  # given how many sessions we have
        self._rng = rng
        self.wanted: set[NodeId] = set()  # holders of what we seek; they are let in when all places are taken
        self._peers: dict[NodeId, Peer] = {}
        self._own: dict[ImageId, m.Entry] = {}
        self._change = anyio.Event()
        self.members: Members | None = None
        self.clones: set[NodeId] = set()  # ids under which two nodes run

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node: NodeId) -> Peer | None:
        """The peer of that id, if it is connected."""
        return self._peers.get(node)

    @property
    def ids(self) -> set[NodeId]:
        """The ids of all connected peers."""
        return set(self._peers)

    @property
    def bans(self) -> dict[NodeId, float]:
        """Who is banned, each until when, in monotonic seconds."""
        return {node: ban.until for node, ban in self._blame.banned(time.monotonic()).items()}

    @property
    def are_busy(self) -> bool:
        """Whether blocks are on their way to or from anybody."""
        return any(peer.is_busy for peer in self)

    async def changed(self) -> None:
        """Wait until a peer comes or goes, or a catalogue changes."""
        await self._change.wait()

    def _signal(self) -> None:
        self._change.set()
        self._change = anyio.Event()

    async def host(self, connection: Connection) -> str:
        """Greet a peer and keep the session until it ends; returns why it ended.

        Raises Untrusted, Refused, Busy, ProtocolError or TimedOut if the session never came to be.
        """
        try:
            await connection.greet(self._hello(len(self._peers)))
            await self._judge(connection)
        except DfedgeError as error:
            connection.close(error.code, str(error))
            self._blame_for(connection)
            await connection.aclose()
            raise
        except BaseException:
            connection.close("refused", "the node stops")
            raise
        try:
            address = connection.address
            with (
                self._uplink.line(connection.asker.bulk, address) as line,
                self._downlink.asking(connection.asker, address),
            ):
                return await self._keep(connection, line)
        finally:
            connection.close("refused", "the node stops")
            self._blame_for(connection)
            await connection.aclose()

    def _blame_for(self, connection: Connection) -> None:
        """Hold a mistake that ended a session against the node that made it."""
        if connection.mistake:
            verdict = self._blame.mistaken(connection.id, connection.mistake, time.monotonic())
            if verdict.banned:
                log.warning("banned peer=%s reason=%s", connection.name, verdict.reason)

    async def _keep(self, connection: Connection, line: Line) -> str:
        members = self.members
        if members is None:
            raise RuntimeError("peers are hosted before the node is wired")
        self._peers[connection.id] = Peer(connection, time.monotonic())
        log.info("connected peer=%s address=%s", connection.name, connection.address)
        try:
            self._send_catalogue(connection)
            members.on_connected(connection)
            self._signal()
            reason = await connection.run(members, line)
        finally:
            self._remove(connection)
        log.info("disconnected peer=%s address=%s reason=%s", connection.name, connection.address, reason)
        return reason

    def _send_catalogue(self, connection: Connection) -> None:
        own = list(self._own.values())
        for start in range(0, len(own), m.MAX_ENTRIES):
            connection.send(m.Catalogue(tuple(own[start : start + m.MAX_ENTRIES])))

    def _remove(self, connection: Connection) -> None:
        peer = self._peers.get(connection.id)
        if peer is not None and peer.connection is connection:
            del self._peers[connection.id]
            self.wanted.discard(connection.id)
            if self.members is not None:
                self.members.on_disconnected(connection)
            self._signal()

    async def _judge(self, connection: Connection) -> None:
        """Decide whether this session may stand beside those we have. Raises Untrusted, Refused or Busy."""
        hello = connection.hello
        if hello is None:
            raise ProtocolError(f"peer {connection.id[:12]}: no hello")
        if self._gate.accept_revocation(hello.revocation):
            self.revoke()
        if self._gate.is_revoked(connection.id):
            raise Untrusted(f"peer {connection.name} ({connection.address}): it is revoked")
        now = time.monotonic()
        if (ban := self._blame.ban(connection.id, now)) is not None:
            raise Refused(
                f"peer {connection.name} ({connection.address}): banned for {ban.until - now:,.0f} s more: {ban.reason}"
            )
        if connection.id == self._gate.own_id:
            raise Refused(f"peer {connection.address}: that is ourselves")
        while (older := self._peers.get(connection.id)) is not None:
            await self._judge_pair(older.connection, connection)
        if len(self._peers) >= MAX_CONNECTIONS:
            if hello.links >= NEEDY and connection.id not in self.wanted:
                raise Busy(
                    f"peer {connection.name} ({connection.address}): {MAX_CONNECTIONS} sessions are open already"
                )
            self._make_room()

    async def _judge_pair(self, older: Connection, newer: Connection) -> None:
        """One of two sessions with one peer stays. Raises Busy or Refused if it is the older."""
        if older.hello is None or newer.hello is None:
            raise ProtocolError(f"peer {newer.name}: no hello")
        if older.hello.boot != newer.hello.boot:
            if await older.alive():
                self.clones.add(newer.id)
                log.error("cloned card peer=%s older=%s newer=%s", newer.name, older.address, newer.address)
                older.send(m.Warn(f"another node runs under your key at {newer.address}; enroll one of them anew"))
                raise Refused(
                    f"peer {newer.name} ({newer.address}): another node runs under the same key at {older.address}"
                )
            older.close("refused", "the peer was started again")
        elif older.dialled != newer.dialled:
            lower_dialled = newer.dialled == (self._gate.own_id < newer.id)
            if not lower_dialled:
                raise Busy(f"peer {newer.name} ({newer.address}): connected already")
            older.close("busy", "another session with the same peer stays")
        elif await older.alive():
            raise Busy(f"peer {newer.name} ({newer.address}): connected already")
        else:
            older.close("timeout", "does not answer")
        self._remove(older)

    def _make_room(self) -> None:
        """End a session at random, of those that move nothing now if there are any; it has other neighbours."""
        quiet = [peer for peer in self if not peer.is_busy]
        self._part(self._rng.choice(quiet or list(self)), f"{MAKES_ROOM} a node with fewer neighbours")

    def exchange(self, node: NodeId) -> None:
        """End the session with a node, as another is to be our neighbour."""
        peer = self._peers.get(node)
        if peer is not None:
            self._part(peer, f"{MAKES_ROOM} another neighbour")

    def _part(self, peer: Peer, reason: str) -> None:
        peer.connection.close("busy", reason)
        self._remove(peer.connection)

    # What we and they hold.

    def announce(self, entry: m.Entry) -> None:
        """Tell all peers, also those to come, that we hold this."""
        self._own[ImageId(entry.image)] = entry
        for peer in self:
            peer.connection.send(m.Catalogue((entry,)))

    def announced(self, image: ImageId) -> m.Entry | None:
        """What we last said of an image."""
        return self._own.get(image)

    def own_images(self) -> set[ImageId]:
        """The images we announce."""
        return set(self._own)

    def withdraw(self, image: ImageId) -> None:
        """Tell all peers that we do not hold this any more."""
        if self._own.pop(image, None) is not None:
            for peer in self:
                peer.connection.send(m.Dropped((image,)))

    def holders(self, image: ImageId) -> list[Peer]:
        """Connected peers that say they hold the image, whole or in part."""
        return [peer for peer in self if image in peer.catalogue]

    def note_catalogue(self, connection: Connection, message: m.Catalogue | m.Dropped) -> None:
        """Keep what a peer says it holds. Raises ProtocolError beyond the bound."""
        peer = self._peers.get(connection.id)
        if peer is None or peer.connection is not connection:
            return
        if isinstance(message, m.Dropped):
            for image in message.images:
                peer.catalogue.pop(ImageId(image), None)
        else:
            for entry in message.entries:
                peer.catalogue[ImageId(entry.image)] = entry
        if len(peer.catalogue) > MAX_CATALOGUE:
            raise ProtocolError(f"announces more than {MAX_CATALOGUE:,} images")
        self._signal()

    # Ends.

    def revoke(self) -> None:
        """A newer revocation list holds: tell the others, then end the sessions of those on it."""
        for peer in self:
            peer.connection.send(m.Revoked(self._gate.revocation))
        for peer in self:
            if self._gate.is_revoked(peer.connection.id):
                log.warning("revoked peer=%s", peer.connection.name)
                peer.connection.close("untrusted", "you are revoked")

    def ban(self, node: NodeId, reason: str) -> None:
        """End the session of a node that was banned."""
        peer = self._peers.get(node)
        if peer is not None:
            log.warning("banned peer=%s reason=%s", peer.connection.name, reason)
            peer.connection.close("corrupt", reason)

    def close_all(self, reason: str) -> None:
        """End every session."""
        for peer in self:
            peer.connection.close("refused", reason)
