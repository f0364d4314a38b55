"""Offering: the peers hear of what the store holds whole, and of what is being fetched."""

from dfedge.core.image.manifest import Manifest
from dfedge.core.seams import ImageId
from dfedge.core.wire.message import Entry
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers


def offer(peers: Peers, image: ImageId, manifest: Manifest, held: int) -> None:
    """Announce an image of which `held` bytes are here."""
    peers.announce(Entry(image, manifest.name, manifest.version, manifest.created, manifest.size, held))


def offer_held(store: Store, peers: Peers) -> None:
    """Announce what is complete, here or on a stick, and was not announced; withdraw what is gone or evicted."""
    held = store.images()
    for image in held:
        entry = Entry(image.image, image.name, image.version, image.created, image.size, image.size)
        if image.complete and peers.announced(image.image) != entry:
            peers.announce(entry)
    whole = {image.image for image in held if image.complete}
    here = {image.image for image in held if image.complete or store.in_use(image.image)}
    for image_id, stick in store.sticks:
        if image_id not in whole:
            offer(peers, image_id, stick.manifest, stick.held_bytes)
            here.add(image_id)
    for image_id in peers.own_images() - here:
        peers.withdraw(image_id)
