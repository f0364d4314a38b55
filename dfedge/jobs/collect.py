"""Giving back: what nothing needs when a user asks, and what others need of the disk when it fills up."""

import logging
from typing import Final

import anyio

from dfedge.core.errors import DfedgeError
from dfedge.jobs.offer import offer_held
from dfedge.store.clearing import Cleared
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers
from dfedge.transfer.swarms import Swarms

LOOK_EVERY: Final = 3.0  # seconds between two looks at how full the disk is; a look reads nothing and writes nothing
log = logging.getLogger("dfedge.jobs")


async def collect(store: Store, peers: Peers, *, dry_run: bool) -> Cleared:
    """Remove leftovers, evict until quota and keep_free hold, and tell the peers what is gone."""
    cleared = await store.collect(dry_run=dry_run)
    if not dry_run:
        offer_held(store, peers)
    return cleared


async def keep_room(store: Store, peers: Peers, swarms: Swarms) -> None:
    """Give back until cancelled, whenever another program needs the disk; what lacks even so is logged once."""
    short = ""
    while True:
        try:
            gone = await store.relieve()
            if store.shortage and await swarms.retire_idle():
                gone += await store.relieve()
            if gone:
                offer_held(store, peers)
        except DfedgeError as error:  # a disk that fails now is looked at again later
            log.warning("disk not looked at error=%r", str(error))
        if bool(store.shortage) != bool(short):
            log.warning("disk full reason=%r", store.shortage) if store.shortage else log.info("disk has room again")
        short = store.shortage
        await anyio.sleep(LOOK_EVERY)
