"""Verifying: read what is stored and prove it again; fetch anew what has rotted."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dfedge.core.image.name import Ref
from dfedge.core.seams import ImageId
from dfedge.jobs.fetch import Fetcher, Progress
from dfedge.jobs.offer import offer_held
from dfedge.store.catalogue import StoredImage
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms

REPAIR_TIMEOUT: Final = 60.0  # seconds to find somebody who holds what is bad here


@dataclass(frozen=True, slots=True)
class Verified:
    """How many pieces were read, which were bad, how many were fetched anew, and what lacks pieces still.

    Those fetched anew are what was found bad now, or by an earlier command or an upload, or never came.
    """

    checked: int
    bad: tuple[tuple[ImageId, int], ...]
    repaired: int
    lacking: tuple[StoredImage, ...]


async def verify(
    image: ImageId | None,
    *,
    repair: bool,
    rebuild_index: bool,
    store: Store,
    peers: Peers,
    swarms: Swarms,
    fetcher: Fetcher,
) -> Verified:
    """Prove one image, or all, from disk. What is bad leaves the piece map at once and is no longer announced.

    With `repair` it is fetched from peers. Raises NoPeers or NotFound if nobody gives it.
    """
    if rebuild_index:
        store.rebuild_index()
    found = await store.verify(image)
    damaged = dict.fromkeys(where for where, _ in found.bad)
    for each in damaged:
        await swarms.retire(each)
    offer_held(store, peers)
    repaired = 0
    if repair:
        sought = set(found.bad)
        for stored in _lacking(store, image):
            sought |= {(stored.image, piece) for piece in store.open_image(stored.image).holds.missing()}
            await fetcher.fetch(Ref(digest=stored.image.hex()), REPAIR_TIMEOUT, _silent)
        repaired = _held(store, sought)
    return Verified(found.checked, tuple(found.bad), repaired, _lacking(store, image))


def _held(store: Store, pieces: Collection[tuple[ImageId, int]]) -> int:
    """How many of these pieces are here by now, whoever fetched them."""
    images = {image for image, _ in pieces}
    holds = {each.image: store.open_image(each.image).holds for each in store.images() if each.image in images}
    return sum(image in holds and piece in holds[image] for image, piece in pieces)


def _lacking(store: Store, image: ImageId | None) -> tuple[StoredImage, ...]:
    """The images in question that lack pieces: found bad now or earlier, or never fetched whole."""
    return tuple(each for each in store.images() if not each.complete and image in (None, each.image))


async def _silent(_progress: Progress) -> None:
    """A repair is reported as a whole."""
