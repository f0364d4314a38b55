"""What `dfedge why` tells of one transfer: what holds it back with its cost, what does not, and what to change."""

import time
from typing import TYPE_CHECKING

from dfedge.core.units import full_digest
from dfedge.node.controlframe import Document
from dfedge.node.holdup import Hold, holds, holds_image, line_of, not_limiting
from dfedge.transfer.drive import Drive

if TYPE_CHECKING:
    from dfedge.node.view import View
    from dfedge.node.wiring import Node


def way_of(drive: Drive) -> str:
    """Which way an image moves here: "down" until it is complete."""
    return "up" if drive.swarm.complete else "down"


def moves(drive: Drive) -> bool:
    """Whether bytes of it are still wanted, here or by a peer."""
    return not drive.swarm.complete or drive.is_wanted


def moving(node: "Node", way: str) -> float:
    """What this node moves that way, in bytes/s of payload."""
    if way == "down":
        return sum(peer.connection.asker.meter.rate for peer in node.peers)
    return sum(peer.connection.line.meter.rate for peer in node.peers if peer.connection.line)


def reasons(node: "Node", view: "View", drive: Drive) -> list[Document]:
    """What holds the image back: what was asked for with it, then this host's reasons, the pieces' and the peers'."""
    line = line_of(node.throttle.budget, way_of(drive))
    found = [_reason(node, hold, line) for hold in held(node, drive)]
    found += [
        {"reason": view.named(reason), "share": round(share, 4), "kind": "pieces"}
        for reason, share in drive.swarm.held_back(time.monotonic())
    ]
    return found + [
        {"reason": view.named(reason), "peer": view.name(peer), "kind": "peer"} for peer, reason in drive.snubs.items()
    ]


def why(node: "Node", view: "View", drive: Drive) -> Document:
    """All there is to say of one image."""
    manifest, way = drive.store.manifest, way_of(drive)
    budget, load, rate = node.throttle.budget, node.throttle.load, moving(node, way)
    idle = not_limiting(budget, load, way, rate, _held(node, way)) if moves(drive) else []
    line = line_of(budget, way)
    return {
        "image": full_digest(drive.image),
        "name": manifest.name,
        "version": manifest.version,
        "bytes_total": manifest.size,
        "bytes_done": drive.held_bytes,
        "rate": _rate(drive) if way == "down" else 0.0,
        "way": way,
        "line": None if line is None else round(line),
        "reasons": reasons(node, view, drive),
        "not_limiting": [{"what": what, "value": value} for what, value in idle],
    }


def held(node: "Node", drive: Drive) -> list[Hold]:
    """What was asked for with the image, and what of this host, holds it back; what costs most first."""
    return [*_of_image(node, drive), *_held(node, way_of(drive))] if moves(drive) else []


def _of_image(node: "Node", drive: Drive) -> list[Hold]:
    if drive.swarm.complete:
        return []
    bucket, line = node.throttle.limiter.down.images.get(drive.image), line_of(node.throttle.budget, "down")
    gives_way = any(member.connection.asker.gives_way(drive.priority) for member in drive.members)
    return holds_image(bucket.rate if bucket is not None else None, gives_way, line, _rate(drive))


def _rate(drive: Drive) -> float:
    return sum(member.connection.asker.meter.rate for member in drive.members)


def _held(node: "Node", way: str) -> list[Hold]:
    return holds(node.throttle.budget, node.throttle.load, way, moving(node, way))


def _reason(node: "Node", hold: Hold, line: float | None) -> Document:
    told: Document = {"reason": hold.reason, "kind": hold.kind}
    if hold.kind in ("image", "throttle"):
        told |= {"share": 1.0, "try": hold.advice or _advice(hold.setting)}  # of the missing pieces
    if hold.setting:
        told |= {
            "setting": hold.setting,
            "value": node.settled.values.get(hold.setting),
            "source": node.settled.sources.get(hold.setting),
        }
    if hold.cost is not None and line:
        told |= {"cost": round(hold.cost), "cost_share": round(hold.cost / line, 4)}
    return told


def _advice(setting: str) -> str:
    """What to do about a limit; only a pause by command has no setting."""
    name = setting.removeprefix("throttle.")
    if not name:
        return "dfedge throttle resume"
    if name == "hold_file":
        return "end what holds the file, or remove it"
    if name == "profile":
        return 'set throttle.profile = "balanced", or "full"'
    if name in ("windows", "metered"):
        return f"change {setting}"
    if name == "battery_action":
        return 'charge it, or set throttle.battery_action = "slow"'
    return f"{'lower' if name in ('memory', 'battery') else 'raise'} {setting}"
