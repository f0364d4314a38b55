"""The verbs of bundles: the command opens each part and passes it, the agent reads or writes it."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dfedge.core.errors import NotFound, Refused, UsageError
from dfedge.core.image.bundle import MAX_PART_BYTES
from dfedge.core.image.name import Ref
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import ImageId
from dfedge.core.units import full_digest, size
from dfedge.jobs.bundle_export import export
from dfedge.jobs.bundle_import import Taken
from dfedge.jobs.bundle_lend import lent
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document
from dfedge.node.headway import Headway
from dfedge.node.view import image_row
from dfedge.store.catalogue import StoredImage

if TYPE_CHECKING:
    from dfedge.node.wiring import Node


def bundle_handlers(node: "Node") -> Mapping[str, Handler]:
    """The verbs, by name."""
    verbs = _Verbs(node)
    return {"export": verbs.export, "import": verbs.take_in, "lend": verbs.lend}


class _Verbs:
    def __init__(self, node: "Node") -> None:
        self._node = node

    async def export(self, params: Document, call: Call) -> Document:
        refs, most = params.get("refs"), params.get("part_bytes")
        if not isinstance(refs, list):
            raise UsageError("export: refs are missing")
        images = [self._one(str(ref)) for ref in refs]
        held_there = self._held_by(str(params["missing_for"]), images) if params.get("missing_for") else None
        if params.get("dry_run") is True:
            return {"images": [image_row(image) for image in images], "dry_run": True}
        headway = Headway(call)

        async def report(image: StoredImage, done: int) -> None:
            more = {"image": full_digest(image.image)}
            await headway.tell(image.name, image.version, total=image.size, done=done, more=more)

        async def open_part(number: int) -> int:
            fd = await _part(call, number)
            if fd is None:
                raise Refused(f"export: part {number} was not opened")
            return fd

        done = await export(
            images,
            open_part,
            report,
            with_trust=params.get("with_trust") is True,
            store=self._node.store,
            trust=self._node.trust,
            part_bytes=most if type(most) is int else MAX_PART_BYTES,
            held_there=held_there,
        )
        return {"parts": done.parts, "bytes": done.size, "images": [image_row(image) for image in done.images]}

    async def take_in(self, params: Document, call: Call) -> Document:
        node, headway = self._node, Headway(call)

        async def report(taken: Taken) -> None:
            await headway.tell(
                taken.name, taken.version, total=taken.total, done=taken.held, reused=taken.reused, more=_row(taken)
            )

        dry = params.get("dry_run") is True
        done = await node.importer().take_in(lambda number: _part(call, number), report, dry_run=dry)
        return {
            "images": [_row(taken) for taken in done.images],
            "revocation": done.revocation,
            "root": done.root,
            "cut": done.cut,
            "seconds": round(done.seconds, 3),
            "dry_run": dry,
        }

    async def lend(self, _params: Document, call: Call) -> Document:
        """Serve a stick until the client goes away or the stick gives out."""
        node = self._node
        if not node.network:
            raise Refused("import: this agent has no network to serve a stick to")
        async with lent(
            lambda number: _part(call, number),
            store=node.store,
            trust=node.trust,
            peers=node.peers,
            swarms=node.swarms,
        ) as (sticks, gone):
            rows = [
                {"name": stick.manifest.name, "version": stick.manifest.version, "bytes": stick.manifest.size}
                for stick in sticks
            ]
            await call.emit({"type": "serving", "images": rows})
            await gone.wait()
        return {"images": rows, "gone": True}

    def _held_by(self, name: str, images: Sequence[StoredImage]) -> dict[ImageId, PieceMap]:
        """What a neighbour has of these images, by what it said itself. Raises NotFound or Refused if it did not."""
        peer = next((peer for peer in self._node.peers if name in {peer.connection.id, peer.connection.name}), None)
        if peer is None:
            raise NotFound(f"export: {name} is not connected, so it is not known what it lacks", "dfedge peers")
        held: dict[ImageId, PieceMap] = {}
        for image in images:
            entry = peer.catalogue.get(image.image)
            drive = self._node.swarms.drive(image.image)
            other = drive.swarm.peers.get(peer.connection.id) if drive is not None else None
            if entry is None or not entry.held:
                continue
            if entry.held == entry.size:
                pieces = self._node.store.open_image(image.image).manifest.pieces
                held[image.image] = PieceMap(pieces, range(pieces))
            elif other is not None:
                held[image.image] = other.shown
            else:
                label = f"{image.name}:{image.version}"
                raise Refused(
                    f"export: {name} holds {size(entry.held)} of {size(entry.size)} of {label} and says which only "
                    "while it fetches",
                    f"dfedge get {label}, at {name}",
                )
        return held

    def _one(self, text: str) -> StoredImage:
        try:
            ref = Ref.parse(text)
        except ValueError as error:
            raise UsageError(str(error)) from error
        found = [each for each in self._node.store.images() if ref.matches(each.image, each.name, each.version)]
        if not found:
            raise NotFound(f"{ref}: not in this store", "dfedge ls")
        if ref.digest and len(found) > 1:
            raise Refused(f"{ref}: several images begin so; give more digits")
        return max(found, key=lambda image: image.created)


async def _part(call: Call, number: int) -> int | None:
    _, fds = await call.ask({"type": "part", "number": number})
    if len(fds) > 1:
        for fd in fds:
            os.close(fd)
        raise Refused(f"part {number} came with {len(fds)} descriptors")
    return fds[0] if fds else None


def _row(taken: Taken) -> Document:
    return {
        "image": full_digest(taken.image),
        "name": taken.name,
        "version": taken.version,
        "signer": taken.signer,
        "bytes_total": taken.total,
        "bytes_done": taken.held,
        "bytes_reused": taken.reused,
        "bytes_carried": taken.carried,
        "complete": taken.complete,
        "bad_pieces": taken.bad,
    }
