"""Mending: an image that was whole here and has rotted is read through, and fetched again from whoever has it."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from dfedge.core.errors import Corrupt, DfedgeError
from dfedge.core.seams import Clock, ImageId, NodeId
from dfedge.core.units import short_digest
from dfedge.jobs.offer import offer, offer_held
from dfedge.jobs.resolve import Resolved, Resolver
from dfedge.store.partial import PartialImage
from dfedge.store.store import Store
from dfedge.transfer.drive import Drive
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms

SEEK_EVERY: Final = 60.0  # seconds between two questions to the neighbours who holds what we lack; doubles
SEEK_SELDOM: Final = 3600.0  # seconds
RETRY: Final = 60.0  # seconds after a mending that failed, for the disk or for trust; doubles
WARY: Final = 86_400.0  # seconds after something rotted in which proofs are renewed
WARY_EVERY: Final = 60.0  # seconds; to hash a piece costs less than to encrypt it
MAX_DAMAGES: Final = 32  # remembered after they were mended
log = logging.getLogger("dfedge.mend")


@dataclass(slots=True)
class Damage:
    """What rotted of an image, and what became of it. Times are seconds since 1970."""

    image: ImageId
    name: str
    version: str
    found: float
    files: dict[str, int] = field(default_factory=dict)  # pieces by path
    mended: float | None = None
    sources: tuple[str, ...] = ()  # names of the nodes that gave the good pieces
    trouble: str = ""  # why it is not mended yet

    @property
    def label(self) -> str:
        """How people call the image."""
        return f"{self.name}:{self.version}"


class _Care:
    """The mending of one image while it goes on."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()


class Mender:
    """Hears of what rots, tells the swarms at once, and mends it by itself while `run` runs."""

    def __init__(
        self, store: Store, peers: Peers, swarms: Swarms, resolver: Resolver, now: Callable[[], float], clock: Clock
    ) -> None:
        """`now` tells seconds since 1970, `clock` monotonic seconds."""
        self._store = store
        self._peers = peers
        self._swarms = swarms
        self._resolver = resolver
        self._now = now
        self._clock = clock
        self._damages: dict[ImageId, Damage] = {}
        self._cares: dict[ImageId, _Care] = {}
        self._fetched: dict[ImageId, tuple[Drive, dict[NodeId, int]]] = {}  # given before pieces were lost
        self._tasks: anyio.abc.TaskGroup | None = None
        self._lost_at = 0.0  # when something rotted last
        self._wary = anyio.Event()  # something has
        self._reading = anyio.Lock()  # one image at a time
        self._pauses = 0
        self._resumed = anyio.Event()
        store.watch(self)

    @property
    def damages(self) -> list[Damage]:
        """What rotted since the start, and what is not mended yet, the newest last."""
        return list(self._damages.values())

    @property
    def open(self) -> list[Damage]:
        """What is not mended yet."""
        return [damage for damage in self._damages.values() if damage.mended is None]

    # What the store says (RotWatcher).

    def lost(self, image: ImageId, pieces: Collection[int]) -> None:
        """These pieces have just left the map."""
        self._lost_at = self._clock()
        self._wary.set()
        self._swarms.doubt()
        drive = self._swarms.drive(image)
        if drive is not None:
            self._fetched.setdefault(image, (drive, dict(drive.fetched)))
            drive.lose(sorted(pieces))

    def rotted(self, image: ImageId, path: str, pieces: int) -> None:
        """So many pieces of that file are to be fetched again."""
        if image not in self._store.spoilt():
            return  # it never was whole: whoever fetches it goes on
        damage = self._damages.get(image)
        if damage is None or damage.mended is not None:
            damage = self._note(image, self._now())
        damage.files[path] = damage.files.get(path, 0) + pieces
        self._begin(damage)

    def mended(self, image: ImageId) -> None:
        """The image is whole again, as another that has its files was mended."""
        drive = self._swarms.drive(image)
        if drive is not None:
            drive.catch_up()

    def _note(self, image: ImageId, when: float) -> Damage:
        manifest = self._store.manifest(image)
        self._damages.pop(image, None)
        damage = self._damages[image] = Damage(image, manifest.name, manifest.version, when)
        done = [each.image for each in self._damages.values() if each.mended is not None]
        for old in done[: max(0, len(self._damages) - MAX_DAMAGES)]:
            del self._damages[old]
        return damage

    # Mending.

    async def run(self) -> None:
        """Mend until cancelled, first what an earlier start left."""
        async with anyio.create_task_group() as self._tasks:
            for image, since in self._store.spoilt().items():
                damage = self._damages.get(image) or self._note(image, since)
                damage.files = damage.files or self._lacking(image)
                self._begin(damage)
            await self._be_wary()

    async def _be_wary(self) -> None:
        """A disk that has lost something loses more: what was proven on it counts for a minute only."""
        while True:
            await self._wary.wait()
            while self._clock() - self._lost_at < WARY:
                await anyio.sleep(WARY_EVERY)
                self._store.doubt()
                self._swarms.doubt()
            self._wary = anyio.Event()

    def _lacking(self, image: ImageId) -> dict[str, int]:
        held = self._store.open_image(image)
        files: dict[str, int] = {}
        for piece in held.holds.missing():
            path = held.manifest.files[held.manifest.piece(piece).file].path
            files[path] = files.get(path, 0) + 1
        return files

    def _begin(self, damage: Damage) -> None:
        if self._tasks is not None and damage.image not in self._cares:
            care = self._cares[damage.image] = _Care()
            self._tasks.start_soon(self._care, damage, care)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Begin no mending for the time of the block: somebody else sees to it."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._resumed.set()
                self._resumed = anyio.Event()

    async def let_go(self, image: ImageId) -> None:
        """Give an image up: it is to be removed."""
        care, drive = self._cares.get(image), self._swarms.drive(image)
        if care is not None:
            care.scope.cancel()
            await care.ended.wait()
            if drive is not None and self._swarms.drive(image) is not drive:
                await drive.ended.wait()

    async def _care(self, damage: Damage, care: _Care) -> None:
        wait = RETRY
        try:
            with care.scope:
                while True:
                    while self._pauses:
                        await self._resumed.wait()
                    damage = self._damages.get(damage.image, damage)  # more may have rotted since
                    try:
                        await self._mend(damage)
                    except DfedgeError as error:
                        damage.trouble = str(error)
                        log.warning("not repaired image=%s reason=%s", damage.label, error)
                    if damage.image not in self._store.spoilt():
                        break
                    await anyio.sleep(wait)
                    wait = min(2 * wait, SEEK_SELDOM)
        finally:
            del self._cares[damage.image]
            care.ended.set()
        if damage.image in self._store.spoilt():  # given up
            self._damages.pop(damage.image, None)
            self._fetched.pop(damage.image, None)
        elif damage.mended is None:  # evicted, or whole by somebody else's doing
            self._done(damage, ())

    async def _mend(self, damage: Damage) -> None:
        found = self._resolver.held(damage.image)
        with self._store.lease(damage.image):
            partial = await self._store.begin(found.manifest, found.raw, found.signature, found.signer)
            if partial.holds.complete:
                await partial.finish()
                self._done(damage, self._gave(damage.image))
                return
            with self._swarms.fetching(damage.image, partial) as drive:
                offer(self._peers, found.image, found.manifest, partial.held_bytes)
                damage.trouble = "no peer that holds it is connected"
                async with self._reading:
                    await self._store.scrubber.image(damage.image, anyio.lowlevel.checkpoint)
                await self._finish(found, partial, drive)
                drive.store = self._store.open_image(damage.image)
                self._done(damage, self._gave(damage.image))

    def _gave(self, image: ImageId) -> tuple[NodeId, ...]:
        """Who has given pieces since some were lost."""
        lost, before = self._fetched.get(image, (None, {}))  # that drive may be over by now
        gave: dict[NodeId, None] = {}
        for drive in (lost, self._swarms.drive(image)):
            if drive is not None:
                had = before if drive is lost else {}
                gave |= dict.fromkeys(peer for peer, nbytes in drive.fetched.items() if nbytes > had.get(peer, 0))
        return tuple(gave)

    async def _finish(self, found: Resolved, partial: PartialImage, drive: Drive) -> None:
        """Wait until all is fetched, and make it whole; once more where still more turns out rotten."""
        wait = SEEK_EVERY
        while True:
            while not drive.finished.is_set():
                if not self._peers.holders(found.image):
                    self._resolver.seek(found.image)
                with anyio.move_on_after(wait):
                    await drive.finished.wait()
                wait = min(2 * wait, SEEK_SELDOM)
            if drive.failure is not None:
                raise drive.failure
            try:
                await partial.finish()
            except Corrupt:
                if partial.holds.complete:
                    raise
            else:
                return

    def _done(self, damage: Damage, gave: tuple[NodeId, ...]) -> None:
        damage.mended, damage.trouble = self._now(), ""
        self._fetched.pop(damage.image, None)
        named = ((self._peers.get(peer), peer) for peer in gave)
        damage.sources = tuple(peer.connection.name if peer else node[:12] for peer, node in named)
        offer_held(self._store, self._peers)
        for drive in self._swarms.drives():  # what shares its files may be whole too
            drive.catch_up()
        log.warning(
            "repaired image=%s digest=%s pieces=%d from=%s",
            damage.label, short_digest(damage.image), sum(damage.files.values()), ",".join(damage.sources) or "-",
        )  # fmt: skip
