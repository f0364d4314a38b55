"""Offering: the peers hear of what the store holds whole, and of nothing else."""

from dfedge.core.wire.message import Entry
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers


def offer_held(store: Store, peers: Peers) -> None:
    """Announce what is complete and was not announced; withdraw what is gone, removed or evicted."""
    held = store.images()
    for image in held:
        entry = Entry(image.image, image.name, image.version, image.created, image.size, image.size)
        if image.complete and peers.announced(image.image) != entry:
            peers.announce(entry)
    here = {image.image for image in held if image.complete or store.in_use(image.image)}
    for image_id in peers.own_images() - here:
        peers.withdraw(image_id)
