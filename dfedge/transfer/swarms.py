"""All swarms we are in: starts a drive when an image is fetched or asked for, and brings each message to its drive."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import anyio.abc

from dfedge.core.errors import Busy, ProtocolError, Untrusted
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Clock, ImageId, NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.blame import Blame
from dfedge.core.swarm.phase import advance
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame
from dfedge.transfer.connection import Connection
from dfedge.transfer.drive import Drive
from dfedge.transfer.gossip import Gossip
from dfedge.transfer.member import Handles, Member
from dfedge.transfer.peers import Peers
from dfedge.transfer.ports import Gate, PieceStore, Shelf
from dfedge.transfer.serve import Uplink

LINGER: Final = 30.0  # seconds a drive stays after nobody needs it any more
MAX_LATE: Final = 4096  # messages kept of a peer in a swarm that we are not in
log = logging.getLogger("dfedge.transfer")


class Swarms:
    """The drives of this node. `run` it; `fetching` is how a job takes part."""

    def __init__(
        self,
        gate: Gate,
        peers: Peers,
        gossip: Gossip,
        shelf: Shelf,
        uplink: Uplink,
        blame: Blame,
        clock: Clock,
        rng: random.Random,
        policy: Policy,
    ) -> None:
        self._gate = gate
        self._peers = peers
        self._gossip = gossip
        self._shelf = shelf
        self._uplink = uplink
        self._blame = blame
        self._clock = clock
        self._rng = rng
        self._policy = policy
        self._drives: dict[ImageId, Drive] = {}
        self._scopes: dict[ImageId, anyio.CancelScope] = {}
        self._fetchers: dict[ImageId, int] = {}
        self._handles: dict[NodeId, Handles] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self) -> None:
        """Keep the drives until cancelled."""
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    def drive(self, image: ImageId) -> Drive | None:
        """The running drive of an image."""
        return self._drives.get(image)

    def drives(self) -> list[Drive]:
        """All running drives."""
        return list(self._drives.values())

    def doubt(self) -> None:
        """Have every piece proven anew before it goes out."""
        self._uplink.doubt()

    @contextmanager
    def fetching(self, image: ImageId, store: PieceStore, priority: int = 0) -> Iterator[Drive]:
        """Take part in an image's swarm for as long as the block lasts; several jobs may do so at once.

        The last of them sets the priority.
        """
        drive = self._drives.get(image) or self._start(image, store)
        drive.priority = priority
        drive.take(store)
        self._fetchers[image] = self._fetchers.get(image, 0) + 1
        try:
            for peer in self._peers.holders(image):
                self._join(drive, peer.connection)
            yield drive
        finally:
            self._fetchers[image] -= 1
            if not self._fetchers[image]:
                del self._fetchers[image]
                if not drive.swarm.complete:
                    self.stop(image)

    def stop(self, image: ImageId) -> None:
        """Leave a swarm."""
        drive = self._drives.pop(image, None)
        if drive is None:
            return
        self._scopes.pop(image).cancel()
        for handles in self._handles.values():
            member = handles.find(image)
            if member is not None:
                self._leave(drive, handles, member)

    async def retire(self, image: ImageId) -> None:
        """Leave a swarm that no job fetches, so that the image may be removed."""
        drive = self._drives.get(image)
        if drive is not None and image not in self._fetchers:
            self.stop(image)
            await drive.ended.wait()

    async def retire_idle(self) -> bool:
        """Leave the swarms that only linger, so that their images may be evicted; false says that there are none."""
        idle = [drive.image for drive in self.drives() if not drive.is_wanted and drive.image not in self._fetchers]
        for image in idle:
            await self.retire(image)
        return bool(idle)

    def _start(self, image: ImageId, store: PieceStore) -> Drive:
        if self._tasks is None:
            raise RuntimeError("a swarm is joined before the node runs")
        manifest = store.manifest
        swarm = Swarm(
            manifest.pieces,
            manifest.lengths.__getitem__,
            store.holds,
            random.Random(self._rng.getrandbits(64)),  # noqa: S311 - it breaks ties, it keeps no secret
            self._policy,
        )
        drive = self._drives[image] = Drive(image, store, swarm, self._uplink, self, self._clock)
        scope = self._scopes[image] = anyio.CancelScope()
        self._tasks.start_soon(self._run_drive, drive, scope)
        for handles in self._handles.values():
            member = handles.find(image)
            if member is not None and member.join is not None and not member.left:
                self._admit(drive, handles, member)
        return drive

    async def _run_drive(self, drive: Drive, scope: anyio.CancelScope) -> None:
        try:
            await self._lease_and_run(drive, scope)
        finally:
            drive.ended.set()

    async def _lease_and_run(self, drive: Drive, scope: anyio.CancelScope) -> None:
        with self._shelf.lease(drive.image), scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drive.run, self._policy.tick)
                idle_since = self._clock()
                while True:
                    await anyio.sleep(LINGER / 6)
                    if drive.is_wanted or drive.image in self._fetchers:
                        idle_since = self._clock()
                    elif self._clock() - idle_since > LINGER:
                        self.stop(drive.image)

    # Taking part with one peer.

    def _join(self, drive: Drive, connection: Connection) -> None:
        handles = self._handles.get(connection.id)
        if handles is None or connection.is_closed:
            return
        try:
            member = handles.of(drive.image)
        except Busy:
            return  # we are in as many swarms with that peer as we may be; others serve
        if member.ours is None:
            drive.join(member, handles.take(member))

    def _admit(self, drive: Drive, handles: Handles, member: Member) -> None:
        """A peer's Join and our drive have met. Raises ProtocolError for a map of another length."""
        join = member.join
        if join is None:
            return
        try:
            holds = PieceMap.decode(drive.store.manifest.pieces, join.pieces)
        except ValueError as error:
            raise ProtocolError(f"joins with {error}") from error
        drive.add(member, holds, join.complete, handles.take(member) if member.ours is None else None)
        late, member.late = member.late, []
        for message in late:
            self._tell(drive, member, message)

    def _leave(self, drive: Drive, handles: Handles, member: Member) -> None:
        drive.remove(member)
        if member.ours is not None:
            member.connection.send(m.Leave(member.ours))
            member.left = member.theirs is not None
            handles.leave(member)

    # What peers say (Members).

    def on_connected(self, connection: Connection) -> None:
        self._handles[connection.id] = Handles(connection)
        self._gossip.welcome(connection)

    def on_disconnected(self, connection: Connection) -> None:
        self._gossip.gone(connection)
        for member in self._handles.pop(connection.id, ()):
            drive = self._drives.get(member.image)
            if drive is not None:
                drive.remove(member)

    def on_writable(self, _connection: Connection) -> None:
        self._uplink.pump()

    def on_request(self, connection: Connection, header: Frame) -> None:
        if connection.line is None:
            raise ProtocolError("asks for blocks before we are ready")
        member = self._handles[connection.id].asked(header.handle)
        drive = self._drives.get(member.image) if member else None
        if drive is None:  # it left or we did; the channels are not in step, so that is no mistake
            connection.line.turn_down(header)
        else:
            self._uplink.request(connection.line, drive, header)

    def on_message(self, connection: Connection, message: m.Message) -> None:
        match message:
            case m.Catalogue() | m.Dropped():
                self._peers.note_catalogue(connection, message)
                if isinstance(message, m.Catalogue):
                    self._join_announced(connection, message)
            case m.AskManifest(image, offset):
                self._give_manifest(connection, ImageId(image), offset)
            case m.Revoked(revocation):
                self._take_revocation(connection, revocation)
            case m.Warn(text):
                log.warning("warned peer=%s text=%r", connection.name, text)
            case m.Contacts() | m.Seek() | m.Found():
                self._gossip.on_message(connection, message)
            case m.Join():
                self._on_join(connection, message)
            case m.Leave(handle):
                self._on_leave(connection, handle, message)
            case (
                m.Have(handle) | m.Lost(handle) | m.Choke(handle) | m.Unchoke(handle) | m.Bad(handle) | m.Cancel(handle)
            ):
                self._on_member(connection, handle, message)
            case _:
                raise ProtocolError(f"says {type(message).__name__} out of turn")

    def _join_announced(self, connection: Connection, message: m.Catalogue) -> None:
        for entry in message.entries:
            drive = self._drives.get(ImageId(entry.image))
            if drive is not None and not drive.swarm.complete:
                self._join(drive, connection)

    def _give_manifest(self, connection: Connection, image: ImageId, offset: int) -> None:
        files = self._shelf.manifest(image)
        if files is None or offset >= len(files[0]):
            connection.send(m.ManifestPart(image, 0, 0, b"", b""))
            return
        raw, signature = files
        connection.send(m.ManifestPart(image, offset, len(raw), signature, raw[offset : offset + m.PART]))

    def _take_revocation(self, connection: Connection, revocation: bytes) -> None:
        try:
            if self._gate.accept_revocation(revocation):
                self._peers.revoke()
        except Untrusted as error:
            # Not held against it: its root may be another version than ours.
            log.warning("revocation list refused peer=%s reason=%s", connection.name, error)
            connection.close(error.code, f"your revocation list does not hold here: {error}")

    def _on_join(self, connection: Connection, join: m.Join) -> None:
        handles = self._handles[connection.id]
        member = handles.joined(join)
        member.phase_in = advance(member.phase_in, join)
        drive = self._drives.get(member.image)
        if drive is None:
            store = self._shelf.open(member.image)
            if store is not None:
                self._start(member.image, store)  # which admits it
        else:
            self._admit(drive, handles, member)

    def _on_leave(self, connection: Connection, handle: int, message: m.Leave) -> None:
        handles = self._handles[connection.id]
        member = handles.theirs(handle)
        member.phase_in = advance(member.phase_in, message)
        drive = self._drives.get(member.image)
        answers = member.left  # it answers our Leave, and we may have joined again since
        if drive is not None and not answers:
            drive.remove(member)
            if member.ours is not None:
                connection.send(m.Leave(member.ours))
                handles.leave(member)
        handles.left(member)
        if drive is not None and answers and not drive.swarm.complete:
            self._join(drive, connection)

    def _on_member(self, connection: Connection, handle: int, message: m.Message) -> None:
        member = self._handles[connection.id].theirs(handle)
        member.phase_in = advance(member.phase_in, message)
        drive = self._drives.get(member.image)
        if member.left:
            return  # said before it knew that we left
        if drive is not None:
            self._tell(drive, member, message)
        elif len(member.late) < MAX_LATE:
            member.late.append(message)
        else:
            raise ProtocolError(f"says more than {MAX_LATE:,} things of a swarm that we are not in")

    def _tell(self, drive: Drive, member: Member, message: m.Message) -> None:
        peer = member.connection.id
        pieces = drive.store.manifest.pieces
        match message:
            case m.Have(_, complete, shown):
                _check_pieces(shown, pieces)
                drive.handle(e.Shown(peer, shown, complete))
            case m.Lost(_, lost):
                _check_pieces(lost, pieces)
                drive.withdrawn(peer, lost)
            case m.Choke():
                drive.choked(peer)
            case m.Unchoke():
                drive.handle(e.Unchoked(peer))
            case m.Bad(_, piece):
                if self._blame.heeds(peer, self._clock()):
                    drive.complain(piece)
            case m.Cancel(_, piece):
                if member.connection.line is not None:
                    member.connection.line.forget(lambda served, header: served is drive and header.piece == piece)
            case _:
                raise ProtocolError(f"says {type(message).__name__} out of turn")

    # Judging.

    def spoiled(self, image: ImageId, piece: int, member: Member) -> None:
        connection = member.connection
        verdict = self._blame.spoiled(connection.id, image, piece, self._clock())
        log.warning("bad piece peer=%s image=%s piece=%d", connection.name, image.hex()[:12], piece)
        if verdict.banned:
            left = verdict.until - self._clock()
            self._peers.ban(connection.id, f"{verdict.reason}; banned for {left:,.0f} s")

    def proven(self, peer: NodeId) -> None:
        self._blame.proven(peer)


def _check_pieces(numbers: tuple[int, ...], count: int) -> None:
    if any(number >= count for number in numbers):
        raise ProtocolError(f"names piece {max(numbers)} of {count:,}")
