"""What a node says of itself: the documents of `status`, `peers`, `where`, `why` and `ls`."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from dfedge import __version__
from dfedge.core.errors import DfedgeError
from dfedge.core.image.name import Ref
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.units import full_digest, host_port
from dfedge.discovery.roster import OURSELVES
from dfedge.discovery.roster import View as Sighted
from dfedge.jobs.mend import Damage
from dfedge.node.controlframe import Document
from dfedge.node.throttleview import standing
from dfedge.node.whyview import moving, why
from dfedge.store.catalogue import StoredImage
from dfedge.transfer.drive import Drive
from dfedge.transfer.gossip import Holding
from dfedge.transfer.peers import Peer

if TYPE_CHECKING:
    from dfedge.node.wiring import Node


class View:
    """Looks at a node and changes nothing."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def status(self) -> Document:
        """How this node is."""
        node = self._node
        usage = node.store.usage()
        return {
            "node": {"id": node.trust.own_id, "name": node.trust.own.name},
            "fleet": node.trust.fleet,
            "fleet_name": node.trust.fleet_name,
            "version": __version__,
            "listen": node.listen,
            "uptime": round(time.monotonic() - node.started, 1),
            "images": len(node.store.images()),
            "peers": len(node.peers),
            "tasks": len(anyio.get_running_tasks()),
            "rate_down": round(moving(node, "down")),
            "rate_up": round(moving(node, "up")),
            "throttle": standing(node),
            "degraded": self.degraded(),
            "certificate_days": int((node.trust.own.ends - node.trust.now()) // 86400),
            "store": {
                "path": str(node.config.state_dir),
                "bytes": usage.bytes,
                "quota": usage.limits.quota or 0,
                "keep_free": usage.limits.keep_free,
                "limit": max(0, usage.limit),
                "free": usage.free,
                "inodes_free": usage.inodes,
                "evicted": {
                    "images": node.store.evicted.images,
                    "bytes": node.store.evicted.nbytes,
                    "last": node.store.evicted.label,
                    "because": node.store.evicted.because,
                },
            },
            "scrub": {
                "every": node.config.store.scrub,
                "last": _rfc3339(node.store.scrubber.state.at) if node.store.scrubber.state.at else None,
            },
            "rot": [_damage(damage) for damage in node.mender.damages],
            "warnings": [*node.trust.warnings, *node.doubts],
        }

    def degraded(self) -> str | None:
        """What keeps this node from being whole, if anything does."""
        node = self._node
        if node.trust.is_revoked(node.trust.own_id):
            return "this node is revoked: no node of the fleet speaks with it; enroll it anew"
        if node.store.degraded:
            return node.store.degraded
        if node.store.shortage:
            return node.store.shortage
        if node.trust.unkept:
            return node.trust.unkept
        if node.peers.clones:
            names = ", ".join(sorted(self.name(clone) for clone in node.peers.clones))
            return f"two nodes run under one key: {names}"
        if node.mender.open:
            damage = node.mender.open[0]
            pieces, files = sum(damage.files.values()), ", ".join(damage.files)
            return f"{damage.label}: {pieces} pieces of {files} have rotted and are not repaired yet: {damage.trouble}"
        return None

    def healthy(self) -> bool:
        """Whether the event loop, which runs this, and the disk answer. One that fails does: then we are degraded."""
        with suppress(DfedgeError):
            self._node.store.usage()
        return True

    def describe(self) -> str:
        """The status as `ssh NODE status` prints it."""
        return json.dumps({"v": 1, **self.status()}) + "\n"

    def line(self) -> str:
        """One live line for systemd."""
        status = self._node
        fetching = [drive for drive in self.drives() if not drive.swarm.complete]
        words = [f"{len(status.store.images())} images", f"{len(status.peers)} peers"]
        if fetching:
            words.append(f"fetching {len(fetching)}")
        return ", ".join(words)

    def name(self, node: NodeId) -> str:
        """What to call a node: its certified name if we are connected, else the start of its id."""
        peer = self._node.peers.get(node)
        return peer.connection.name if peer else node[:12]

    def named(self, text: str) -> str:
        """A reason with ids replaced by names."""
        for peer in self._node.peers:
            text = text.replace(peer.connection.id, peer.connection.name)
        return text

    def drives(self) -> list[Drive]:
        """The swarms we are in."""
        return self._node.swarms.drives()

    # peers

    def peers(self) -> Document:
        """Who is around, and how we stand with each."""
        now = time.monotonic()
        views = self._node.roster.views(now)
        sighted = {view.id: view for view in views if view.id is not None}
        rows = [self._connected(peer, sighted.get(peer.connection.id)) for peer in self._node.peers]
        known = self._node.peers.ids
        reached = {peer.listens for peer in self._node.peers}
        rows += [
            self._sighted(view, now)
            for view in views
            if view.reason != OURSELVES
            and (view.id not in known if view.id is not None else not reached.intersection(view.addresses))
        ]
        unseen = self._node.blame.banned(now).keys() - known - sighted.keys()
        rows += [self._sighted(Sighted(node, "", (), ("pex",), "", False, now, 0.0), now) for node in sorted(unseen)]
        return {"peers": rows, "foreign": self._node.mdns.foreign() if self._node.mdns is not None else 0}

    def _connected(self, peer: Peer, sighted: Sighted | None) -> Document:
        connection = peer.connection
        snub = next((drive.snubs[connection.id] for drive in self.drives() if connection.id in drive.snubs), "")
        return {
            "id": connection.id,
            "name": connection.name,
            "labels": dict(connection.record.labels) if connection.record else {},
            "addresses": [host_port(*address)] if (address := peer.listens) else [],
            "via": sighted.via[0] if sighted else "inbound",
            "state": "snubbed" if snub else "connected",
            "reason": self.named(snub),
            "banned_until": None,
            "bytes_down": connection.asker.meter.total,
            "bytes_up": connection.line.meter.total if connection.line else 0,
            "images": [f"{entry.name}:{entry.version}" for entry in peer.catalogue.values()],
            "agent": _shown(connection.hello.agent) if connection.hello else "",
            "seen": 0,
        }

    def _sighted(self, view: Sighted, now: float) -> Document:
        ban = self._node.blame.ban(view.id, now) if view.id else None
        state = "banned" if ban else "refused" if view.refused else "seen"
        return {
            "id": view.id,
            "name": view.name,
            "addresses": [host_port(*address) for address in view.addresses],
            "via": view.via[0],
            "state": state,
            "reason": ban.reason if ban else view.reason,
            "banned_until": _rfc3339(self._node.trust.now() + ban.until - now) if ban else None,
            "bytes_down": 0,
            "bytes_up": 0,
            "images": [],
            "agent": "",
            "seen": round(now - view.last_seen),
        }

    # images

    def images(self) -> Document:
        """What the store holds."""
        return {"images": [image_row(image) for image in self._node.store.images()]}

    def where(self, ref: Ref, hearsay: Iterable[Holding] = ()) -> Document:
        """Who holds which share: ourselves, those that we are connected to, and `hearsay` of the others."""
        node = self._node
        rows = [
            _share(node.trust.own_id, node.trust.own.name, image.image, image.held, image.size)
            for image in node.store.images()
            if ref.matches(image.image, image.name, image.version)
        ]
        for peer in node.peers:
            for entry in peer.catalogue.values():
                if ref.matches(entry.image, entry.name, entry.version):
                    connection = peer.connection
                    rows.append(_share(connection.id, connection.name, entry.image, entry.held, entry.size))
        rows += [
            {**_share(held.node, held.name, held.image, held.held, held.size), "connected": False}
            for held in sorted(hearsay, key=lambda held: held.name)
            if node.peers.get(held.node) is None and held.node != node.trust.own_id
        ]
        return {"nodes": rows}

    def why(self, ref: Ref | None) -> Document:
        """What each transfer waits for."""
        rows = [why(self._node, self, drive) for drive in self.drives() if _means(ref, drive)]
        return {"images": [row for row in rows if ref is not None or row["reasons"]]}


def _damage(damage: Damage) -> Document:
    """What rotted, for scripts."""
    return {
        "image": full_digest(damage.image),
        "name": damage.name,
        "version": damage.version,
        "files": [{"path": path, "pieces": pieces} for path, pieces in damage.files.items()],
        "found": _rfc3339(damage.found),
        "repaired": _rfc3339(damage.mended) if damage.mended is not None else None,
        "repaired_from": list(damage.sources),
        "trouble": damage.trouble or None,
    }


def image_row(image: StoredImage) -> Document:
    """An image of the store, for scripts."""
    return {
        "image": full_digest(image.image),
        "name": image.name,
        "version": image.version,
        "bytes": image.size,
        "have_bytes": image.held,
        "complete": image.complete,
        "pinned": image.pinned,
        "signer": image.signer,
    }


def _share(node: NodeId, name: str, image: ImageId | bytes, held: int, size: int) -> Document:
    return {
        "node": node,
        "name": name,
        "image": full_digest(image),
        "have_bytes": held,
        "missing_bytes": size - held,
        "connected": True,
    }


def _means(ref: Ref | None, drive: Drive) -> bool:
    manifest = drive.store.manifest
    return ref is None or ref.matches(drive.image, manifest.name, manifest.version)


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _shown(claim: str) -> str:
    """What a peer says of itself, if a terminal can show it."""
    return claim if claim.isprintable() else ""
