"""Fetching: resolve the reference, join the swarm, and end when every byte is proven and in its place."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from dfedge.core.errors import NoSpace, Refused, TimedOut
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.name import Ref
from dfedge.core.seams import Clock, ImageId, NodeId
from dfedge.core.units import duration, size
from dfedge.jobs.offer import offer, offer_held
from dfedge.jobs.resolve import Resolved, Resolver
from dfedge.store.partial import PartialImage
from dfedge.store.store import Store
from dfedge.transfer.drive import Drive
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms

REPORT_EVERY: Final = 0.5  # seconds between two looks at the progress
ANNOUNCE_EVERY: Final = 2.0  # seconds between two words to the peers about how much we hold, up to FEW_PEERS
FEW_PEERS: Final = 4  # with more it is said more seldom, so that nobody hears more of it a second
STALL: Final = 120.0  # seconds without a proven byte after which a fetch gives up; what is proven stays
RATE_OVER: Final = 3.0  # seconds over which the rate is smoothed


@dataclass(frozen=True, slots=True)
class PeerShare:
    """What one peer gives us now."""

    id: NodeId
    name: str
    rate: float  # bytes/s
    state: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How a fetch goes. Sizes in bytes, rate in bytes/s, seconds to go if they can be told."""

    image: ImageId
    name: str
    version: str
    signer: str
    total: int
    done: int
    reused: int
    rate: float
    eta: float | None
    peers: tuple[PeerShare, ...]
    held_back: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of it. Sizes in bytes."""

    image: ImageId
    name: str
    version: str
    total: int
    fetched: int
    reused: int
    wasted: int
    seconds: float
    peers: tuple[tuple[NodeId, int], ...]
    bad_pieces: tuple[tuple[NodeId, int], ...]


class Fetcher:
    """What fetching needs of the node."""

    def __init__(self, store: Store, peers: Peers, swarms: Swarms, resolver: Resolver, clock: Clock) -> None:
        self._store = store
        self._peers = peers
        self._swarms = swarms
        self._resolver = resolver
        self._clock = clock

    async def fetch(
        self,
        ref: Ref,
        timeout: float | None,
        report: Callable[[Progress], Awaitable[None]],
        *,
        one_file: bool = False,
        priority: int = 0,
    ) -> Fetched:
        """Fetch an image into the store. `report` hears of the progress, twice a second.

        `timeout` bounds, in seconds, the wait for somebody who holds it and any standstill. With `one_file` an image of
        any other number of files is refused before it is begun. While an image of a higher `priority` gets on, this one
        waits.
        Raises NotFound, NoPeers, Refused, Untrusted, NoSpace, Corrupt (our disk), TimedOut; what was proven is kept.
        """
        start = self._clock()
        found = await self._resolver.resolve(ref, timeout)
        if one_file:
            _refuse_many(found.manifest)
        image, manifest = found.image, found.manifest
        with self._store.lease(image, "being fetched"):
            partial = await self._begin(found)
            reused = partial.held_bytes
            offer_held(self._store, self._peers)  # what made room for it is no longer here
            if partial.holds.complete:
                await partial.finish()
                offer_held(self._store, self._peers)
                return self._result(found, start, manifest.size, None)
            with self._swarms.fetching(image, partial, priority) as drive:
                meter = _Meter(found, drive, reused, self._clock, self._peers)
                await self._watch(found, drive, meter, timeout or STALL, report)
                if drive.failure is not None:
                    raise drive.failure
                await partial.finish()
                drive.store = self._store.open_image(image)
            offer_held(self._store, self._peers)
            return self._result(found, start, reused, drive)

    async def _begin(self, found: Resolved) -> PartialImage:
        arguments = (found.manifest, found.raw, found.signature, found.signer)
        try:
            return await self._store.begin(*arguments)
        except NoSpace:
            if not await self._swarms.retire_idle():
                raise
        return await self._store.begin(*arguments)

    async def _watch(
        self,
        found: Resolved,
        drive: Drive,
        meter: "_Meter",
        stall: float,
        report: Callable[[Progress], Awaitable[None]],
    ) -> None:
        """Report and announce until the swarm is finished. Raises TimedOut at a standstill."""
        announced = self._clock()
        offer(self._peers, found.image, found.manifest, drive.held_bytes)
        moved_at, moved = self._clock(), drive.held_bytes
        while not drive.finished.is_set():
            await report(meter.read())
            with anyio.move_on_after(REPORT_EVERY):
                await drive.finished.wait()
            now = self._clock()
            if drive.held_bytes != moved or drive.holds_back:
                moved_at, moved = now, drive.held_bytes
            elif now - moved_at > stall:
                why = meter.read().held_back or "no peer answers"
                raise TimedOut(
                    f"{found.manifest.name}:{found.manifest.version}: nothing came for {duration(stall)} at "
                    f"{size(moved)} of {size(found.manifest.size)}: {why}",
                    f"dfedge why {found.manifest.name}:{found.manifest.version}",
                )
            if now - announced >= announce_every(len(self._peers)):
                announced = now
                offer(self._peers, found.image, found.manifest, drive.held_bytes)
        if drive.failure is None:
            await report(meter.read())

    def _result(self, found: Resolved, start: float, reused: int, drive: Drive | None) -> Fetched:
        return Fetched(
            image=found.image,
            name=found.manifest.name,
            version=found.manifest.version,
            total=found.manifest.size,
            fetched=sum(drive.fetched.values()) if drive else 0,
            reused=reused,
            wasted=drive.wasted if drive else 0,
            seconds=self._clock() - start,
            peers=tuple(drive.fetched.items()) if drive else (),
            bad_pieces=tuple(drive.bad) if drive else (),
        )


def _refuse_many(manifest: Manifest) -> None:
    if len(manifest.files) != 1:
        label = f"{manifest.name}:{manifest.version}"
        raise Refused(f"{label}: has {len(manifest.files):,} files; give a folder", f"dfedge get {label} -o DIR/")


def announce_every(peers: int) -> float:
    """Seconds between two words to so many peers about how much we hold.

    All of a swarm say it to all: at a fixed pace it was an eighth of all messages with 16 peers.
    """
    return ANNOUNCE_EVERY * max(1.0, peers / FEW_PEERS)


class _Meter:
    """Turns what a drive has counted into progress."""

    def __init__(self, found: Resolved, drive: Drive, reused: int, clock: Clock, peers: Peers) -> None:
        self._found = found
        self._drive = drive
        self._reused = reused
        self._clock = clock
        self._peers = peers
        self._samples: list[tuple[float, int]] = []

    def read(self) -> Progress:
        now, held = self._clock(), self._drive.held_bytes
        self._samples = [sample for sample in self._samples if now - sample[0] <= RATE_OVER]
        self._samples.append((now, held))
        first_at, first_held = self._samples[0]
        rate = (held - first_held) / (now - first_at) if now > first_at else 0.0
        total = self._found.manifest.size
        reasons = self._drive.swarm.held_back(now)
        return Progress(
            image=self._found.image,
            name=self._found.manifest.name,
            version=self._found.manifest.version,
            signer=self._found.signer,
            total=total,
            done=held,
            reused=self._reused,
            rate=rate,
            eta=(total - held) / rate if rate > 0 else None,
            peers=tuple(self._shares()),
            held_back=self._named(reasons[0][0]) if reasons else None,
        )

    def _shares(self) -> list[PeerShare]:
        shares = []
        for member in self._drive.members:
            connection = member.connection
            state = "snubbed" if connection.id in self._drive.snubs else member.phase_in.value
            shares.append(PeerShare(connection.id, connection.name, connection.asker.meter.rate, state))
        return sorted(shares, key=lambda share: -share.rate)

    def _named(self, reason: str) -> str:
        for peer in self._peers:
            reason = reason.replace(peer.connection.id, peer.connection.name)
        return reason
