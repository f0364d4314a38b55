"""The verbs of the control socket: parameters in, one job or view called, its answer as a document out."""

import base64
import binascii
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from dfedge.core.errors import NotFound, Refused, Untrusted, UsageError
from dfedge.core.image.name import Ref
from dfedge.core.units import full_digest
from dfedge.jobs.collect import collect
from dfedge.jobs.fetch import Fetched, Progress
from dfedge.jobs.locate import WITHIN, locate
from dfedge.jobs.offer import offer_held
from dfedge.jobs.publish import Offered, publish
from dfedge.jobs.verify import verify
from dfedge.node.bundleverbs import bundle_handlers
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document
from dfedge.node.headway import Headway
from dfedge.node.throttleview import throttle_handlers
from dfedge.node.topview import top
from dfedge.node.view import View, image_row
from dfedge.node.whyview import held
from dfedge.store.catalogue import StoredImage
from dfedge.store.eviction import total

if TYPE_CHECKING:
    from dfedge.node.wiring import Node

PRIORITIES: Final = {"low": -1, "normal": 0, "high": 1}


def handlers(node: "Node", view: View) -> Mapping[str, Handler]:
    """All verbs of a node, by name."""
    verbs = _Verbs(node, view)
    return {
        "status": verbs.status,
        "peers": verbs.peers,
        "where": verbs.where,
        "why": verbs.why,
        "top": verbs.top,
        "ls": verbs.ls,
        "rm": verbs.rm,
        "pin": verbs.pin,
        "unpin": verbs.unpin,
        "gc": verbs.gc,
        "verify": verbs.verify,
        "get": verbs.get,
        "output": verbs.output,
        "publish": verbs.publish,
        "revoke": verbs.revoke,
        **bundle_handlers(node),
        **throttle_handlers(node),
    }


class _Verbs:
    def __init__(self, node: "Node", view: View) -> None:
        self._node = node
        self._view = view

    # Looking

    async def status(self, _params: Document, _call: Call) -> Document:
        return self._view.status()

    async def peers(self, _params: Document, _call: Call) -> Document:
        return self._view.peers()

    async def ls(self, _params: Document, _call: Call) -> Document:
        return self._view.images()

    async def where(self, params: Document, _call: Call) -> Document:
        ref, within = _ref(params), _timeout(params, "where")
        node, document = self._node, self._view.where(ref)
        if node.network:
            known = bool(document["nodes"])
            limit = WITHIN if within is None else within
            document = self._view.where(ref, await locate(ref, limit, node.gossip, time.monotonic, known=known))
        if not document["nodes"]:
            near = ", ".join(self._node.resolver.nearest(ref))
            raise NotFound(f"{ref}: no node that we know of holds it" + (f"; nearest are {near}" if near else ""))
        return document

    async def why(self, params: Document, _call: Call) -> Document:
        ref = _ref(params) if params.get("ref") else None
        document = self._view.why(ref)
        if ref is not None and not document["images"]:
            self._one(ref)  # unknown is an error, complete and quiet is not
        return document

    async def top(self, _params: Document, _call: Call) -> Document:
        return top(self._node, self._view)

    # The store

    async def rm(self, params: Document, _call: Call) -> Document:
        image = self._one(_ref(params))
        dry = params.get("dry_run") is True
        if dry:
            if image.pinned:
                raise Refused(
                    f"{image.name}:{image.version}: it is pinned", f"dfedge unpin {image.name}:{image.version}"
                )
            return {**image_row(image), "dry_run": True}
        await self._node.mender.let_go(image.image)
        await self._node.swarms.retire(image.image)
        freed = await self._node.store.remove(image.image)
        offer_held(self._node.store, self._node.peers)
        return {**image_row(image), "freed": freed}

    async def pin(self, params: Document, _call: Call) -> Document:
        image = self._one(_ref(params))
        await self._node.store.pin(image.image)
        return {**image_row(image), "pinned": True}

    async def unpin(self, params: Document, _call: Call) -> Document:
        image = self._one(_ref(params))
        await self._node.store.unpin(image.image)
        return {**image_row(image), "pinned": False}

    async def gc(self, params: Document, _call: Call) -> Document:
        dry = params.get("dry_run") is True
        cleared = await collect(self._node.store, self._node.peers, dry_run=dry)
        return {
            "freed": total(cleared.gone).nbytes,
            "because": cleared.because,
            "short": cleared.short,
            "images": [
                {
                    "image": full_digest(evicted.image) if evicted.image else None,
                    "name": evicted.label,
                    "bytes": evicted.room.nbytes,
                    "reason": evicted.reason,
                }
                for evicted in cleared.gone
            ],
            "dry_run": dry,
        }

    async def verify(self, params: Document, _call: Call) -> Document:
        image = self._one(_ref(params)) if params.get("ref") else None

        with self._node.mender.paused():  # so that what is repaired is counted once
            done = await verify(
                image.image if image else None,
                repair=params.get("repair") is True,
                rebuild_index=params.get("rebuild_index") is True,
                store=self._node.store,
                peers=self._node.peers,
                swarms=self._node.swarms,
                fetcher=self._node.fetcher,
            )
        bad = [{"image": full_digest(image), "piece": piece} for image, piece in done.bad]
        lacking = [image_row(image) for image in done.lacking]
        return {
            "checked": done.checked,
            "bad": len(bad),
            "repaired": done.repaired,
            "bad_pieces": bad,
            "incomplete": lacking,
        }

    # Getting and giving

    async def get(self, params: Document, call: Call) -> Document:
        ref, timeout, most = (
            _ref(params),
            _timeout(params, "get"),
            _above_zero(params, "get", "max_rate", "bytes a second"),
        )
        one_file, priority = params.get("one_file") is True, PRIORITIES.get(str(params.get("priority", "normal")))
        if priority is None:
            raise UsageError(f"get: {params.get('priority')} is no priority; {', '.join(PRIORITIES)}")
        await call.emit({"type": "start", "ref": str(ref)})
        down, told = self._node.throttle.limiter.down, False

        async def report(progress: Progress) -> None:
            nonlocal told
            if not told and most is not None:
                limited.callback(down.limit_image, progress.image, None)
                down.limit_image(progress.image, most)
            drive = self._node.swarms.drive(progress.image)
            holds = held(self._node, drive) if drive is not None and not drive.swarm.complete else []
            why = holds[0].reason if holds else progress.held_back
            await call.emit(_progress("progress" if told else "manifest", progress, why))
            told = True

        with ExitStack() as limited:
            fetched = await self._node.fetcher.fetch(ref, timeout, report, one_file=one_file, priority=priority)
        return self._fetched(fetched)

    def _fetched(self, fetched: Fetched) -> Document:
        manifest = self._node.store.manifest(fetched.image)
        return {
            "image": full_digest(fetched.image),
            "name": fetched.name,
            "version": fetched.version,
            "bytes_total": fetched.total,
            "bytes_fetched": fetched.fetched,
            "bytes_reused": fetched.reused,
            "bytes_wasted": fetched.wasted,
            "seconds": round(fetched.seconds, 3),
            "peers": [{"id": peer, "name": self._view.name(peer), "bytes": got} for peer, got in fetched.peers],
            "bad_pieces": [{"peer": peer, "piece": piece} for peer, piece in fetched.bad_pieces],
            "files": [{"path": file.path, "size": file.size, "mode": file.mode} for file in manifest.files],
        }

    async def output(self, params: Document, call: Call) -> Document:
        image, number = params.get("image"), params.get("file")
        if not isinstance(image, str) or type(number) is not int:
            raise UsageError("output: image and file are missing")
        stored = self._one(Ref.parse(image))
        if not stored.complete:
            raise Refused(f"{stored.name}:{stored.version}: not complete here", f"dfedge get {stored.name}")
        if not 0 <= number < len(self._node.store.manifest(stored.image).files):
            raise UsageError(f"output: {stored.name}:{stored.version} has no file number {number}")
        if not call.fds:
            raise UsageError("output: no descriptor was passed")
        await self._node.store.output(stored.image, number, call.fds[0])
        return {"bytes": self._node.store.manifest(stored.image).files[number].size}

    async def publish(self, params: Document, call: Call) -> Document:
        name, version, compatible, files = (params.get(key) for key in ("name", "version", "compatible", "files"))
        if not (isinstance(name, str) and isinstance(version, str) and isinstance(files, list)):
            raise UsageError("publish: name, version or files are missing")

        async def open_file(number: int) -> int:
            _, fds = await call.ask({"type": "file", "index": number})
            if len(fds) != 1:
                _close(fds)
                raise Refused(f"publish: file {number} came with {len(fds)} descriptors")
            return fds[0]

        async def sign(manifest: bytes) -> bytes:
            answer, fds = await call.ask({"type": "sign", "manifest": base64.b64encode(manifest).decode()})
            _close(fds)
            return _bytes(answer, "signature")

        headway = Headway(call)

        async def report(done: int, total: int) -> None:
            await headway.tell(name, version, total=total, done=done)

        nodes = params.get("nodes")
        published = await publish(
            name,
            version,
            [str(board) for board in compatible] if isinstance(compatible, list) else (),
            [_offered(file) for file in files],
            open_file,
            sign,
            before_write=self._node.throttle.before_write,
            report=report,
            nodes=nodes if type(nodes) is int else 0,
            store=self._node.store,
            trust=self._node.trust,
            peers=self._node.peers,
        )
        return {
            "image": full_digest(published.image),
            "name": published.name,
            "version": published.version,
            "bytes": published.size,
            "pieces": published.pieces,
        }

    async def revoke(self, params: Document, _call: Call) -> Document:
        data = _bytes(params, "revocation")
        if params.get("dry_run") is True:
            return {"accepted": self._node.trust.is_newer_revocation(data), "told": 0, "dry_run": True}
        newer = self._node.trust.accept_revocation(data)
        if newer:
            self._node.peers.revoke()
            if self._node.trust.is_revoked(self._node.trust.own_id):
                self._node.peers.close_all("this node is revoked")
        return {"accepted": newer, "told": len(self._node.peers)}

    # What is meant

    def _one(self, ref: Ref) -> StoredImage:
        """The one stored image that a reference means; of a bare name the newest. Raises NotFound, Refused."""
        found = [image for image in self._node.store.images() if ref.matches(image.image, image.name, image.version)]
        if not found:
            near = ", ".join(self._node.resolver.nearest(ref))
            raise NotFound(f"{ref}: not in this store" + (f"; nearest are {near}" if near else ""), "dfedge ls")
        if ref.digest and len(found) > 1:
            raise Refused(f"{ref}: several images begin so; give more digits")
        return max(found, key=lambda image: image.created)


def _ref(params: Document) -> Ref:
    try:
        return Ref.parse(str(params.get("ref")))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _bytes(params: Document, key: str) -> bytes:
    try:
        return base64.b64decode(str(params.get(key)), validate=True)
    except binascii.Error as error:
        raise Untrusted(f"{key}: not base64") from error


def _timeout(params: Document, verb: str) -> float | None:
    return _above_zero(params, verb, "timeout", "seconds")


def _above_zero(params: Document, verb: str, key: str, unit: str) -> float | None:
    value = params.get(key)
    if value is None:
        return None
    if not (isinstance(value, (int, float)) and value > 0):
        raise UsageError(f"{verb} {params.get('ref')}: {key} {value!r} is not a number of {unit}")
    return float(value)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _offered(file: object) -> Offered:
    match file:
        case {"path": str(path), "size": int(size), "mode": int(mode)} if size >= 0:
            return Offered(path, size, mode)
        case _:
            raise UsageError(f"publish: {str(file)[:80]} does not describe a file")


def _progress(kind: str, progress: Progress, held_back: str | None) -> Document:
    return {
        "type": kind,
        "image": full_digest(progress.image),
        "name": progress.name,
        "version": progress.version,
        "signer": progress.signer,
        "bytes_total": progress.total,
        "bytes_done": progress.done,
        "bytes_reused": progress.reused,
        "rate": round(progress.rate),
        "eta": round(progress.eta, 1) if progress.eta is not None else None,
        "peers": [
            {"id": peer.id, "name": peer.name, "rate": round(peer.rate), "state": peer.state} for peer in progress.peers
        ],
        "held_back": held_back,
    }
