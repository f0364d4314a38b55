"""What `dfedge top` shows each second: images on the move, peers, budget and host, in one document."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dfedge.core.seams import NodeId
from dfedge.core.swarm.phase import Membership
from dfedge.core.units import full_digest
from dfedge.node.controlframe import Document
from dfedge.node.throttleview import load_numbers, standing
from dfedge.node.whyview import moves, moving, reasons, way_of
from dfedge.transfer.drive import Drive
from dfedge.transfer.peers import Peer

if TYPE_CHECKING:
    from dfedge.node.view import View
    from dfedge.node.wiring import Node


def top(node: "Node", view: "View") -> Document:
    """All of it. Rates in bytes/s."""
    drives = [drive for drive in node.swarms.drives() if moves(drive)]
    shared = {way: _shared(drives, way) for way in ("down", "up")}
    return {
        "node": {"id": node.trust.own_id, "name": node.trust.own.name},
        "uptime": round(time.monotonic() - node.started, 1),
        "rss": _resident(),
        "rate_down": round(moving(node, "down")),
        "rate_up": round(moving(node, "up")),
        "throttle": {**standing(node), "load": load_numbers(node.throttle.load)},
        "images": [_image(node, view, drive, shared) for drive in drives],
        "peers": [_peer(peer, node.swarms.drives()) for peer in node.peers],
    }


def _image(node: "Node", view: "View", drive: Drive, shared: dict[str, Counter[NodeId]]) -> Document:
    manifest, members, way = drive.store.manifest, drive.members, way_of(drive)
    down = up = 0.0
    for member in members:
        connection = member.connection
        if way == "down":
            down += connection.asker.meter.rate / shared["down"][connection.id]
        if connection.line is not None and not drive.swarm.is_complete(connection.id):
            up += connection.line.meter.rate / shared["up"][connection.id]
    held = reasons(node, view, drive)
    missing = manifest.size - drive.held_bytes
    return {
        "image": full_digest(drive.image),
        "name": manifest.name,
        "version": manifest.version,
        "state": "paused" if node.throttle.budget.paused else "fetching" if way == "down" else "seeding",
        "bytes_total": manifest.size,
        "bytes_done": drive.held_bytes,
        "peers": len(members),
        "peers_open": sum(member.phase_in is Membership.OPEN for member in members),
        "rate_down": round(down),
        "rate_up": round(up),
        "eta": round(missing / down, 1) if down and way == "down" else None,
        "limited_by": held[0]["reason"] if held else None,
    }


def _shared(drives: list[Drive], way: str) -> Counter[NodeId]:
    """In how many swarms a session may move bytes that way: its meter does not tell them apart."""
    return Counter(
        member.connection.id
        for drive in drives
        for member in drive.members
        if (way_of(drive) == "down" if way == "down" else not drive.swarm.is_complete(member.connection.id))
    )


def _peer(peer: Peer, drives: list[Drive]) -> Document:
    connection = peer.connection
    return {
        "id": connection.id,
        "name": connection.name,
        "state": "snubbed" if any(connection.id in drive.snubs for drive in drives) else "connected",
        "rate_down": round(connection.asker.meter.rate),
        "rate_up": round(connection.line.meter.rate) if connection.line else 0,
        "bytes_down": connection.asker.meter.total,
        "bytes_up": connection.line.meter.total if connection.line else 0,
    }


def _resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
