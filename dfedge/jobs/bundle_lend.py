"""Serving a stick in place: its images are offered to the peers as long as it is plugged in, and nothing is copied."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from dfedge.core.errors import Corrupt, Refused, Untrusted
from dfedge.core.image.bundle import Kind, split_manifest
from dfedge.core.image.manifest import Manifest, image_id
from dfedge.core.seams import ImageId
from dfedge.jobs.bundle_source import OpenPart, Source
from dfedge.jobs.offer import offer_held
from dfedge.store.bundle import Place
from dfedge.store.stick import StickImage
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms
from dfedge.trust.nodetrust import NodeTrust


@asynccontextmanager
async def lent(
    open_part: OpenPart, *, store: Store, trust: NodeTrust, peers: Peers, swarms: Swarms
) -> AsyncIterator[tuple[list[StickImage], anyio.Event]]:
    """Serve what a bundle holds whole, as long as the block lasts; the event says that the stick gives bad bytes.

    Raises Untrusted (another fleet's, a signature that does not hold), Corrupt (cut short), Refused (served already).
    """
    source = Source(trust.fleet, open_part)
    serving: list[tuple[ImageId, StickImage]] = []
    try:
        gone = anyio.Event()
        for image, stick in await _look(source, trust, swarms, gone):
            if not stick.holds.complete:
                raise Corrupt(f"{stick}: the stick does not hold all of it", "dfedge import PATH, then dfedge get")
            if not store.sticks.add(image, stick):
                raise Refused(f"{stick}: another stick serves it already")
            serving.append((image, stick))
        if not serving:
            raise Corrupt("the bundle holds no images")
        offer_held(store, peers)
        yield [stick for _, stick in serving], gone
    finally:
        with anyio.CancelScope(shield=True):
            for image, stick in serving:
                store.sticks.remove(image)
                await swarms.retire(image)
                stick.close()
            offer_held(store, peers)
            source.close()


async def _look(
    source: Source, trust: NodeTrust, swarms: Swarms, gone: anyio.Event
) -> list[tuple[ImageId, StickImage]]:
    """Read through the records, not the pieces."""
    found: list[tuple[ImageId, StickImage]] = []
    record = await source.next(lambda _place: False)
    while record is not None:
        if record.kind is not Kind.MANIFEST:
            record = await source.next(lambda _place: False)
            continue
        try:
            raw, signature = split_manifest(record.payload)
        except ValueError as error:
            raise Untrusted(f"the bundle: {error}") from None
        trust.verify_manifest(raw, signature)
        manifest, image = Manifest.decode(raw), image_id(raw)
        places: dict[int, tuple[int, int]] = {}

        def note(place: Place, manifest: Manifest = manifest, places: dict[int, tuple[int, int]] = places) -> bool:
            assert source.part is not None
            if place.piece < manifest.pieces and place.length == manifest.lengths[place.piece]:
                places[place.piece] = source.part.fd, place.offset
            return False

        def lost(pieces: Sequence[int], image: ImageId = image) -> None:
            gone.set()
            drive = swarms.drive(image)
            if drive is not None:
                drive.lose(pieces)

        record = await source.next(note)
        found.append((image, StickImage(manifest, raw, signature, places, lost)))
    return found
