"""From a reference to one verified manifest: who has it, and is it what its signer signed."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from dfedge.core.errors import DfedgeError, NoPeers, NotFound, Refused
from dfedge.core.image.manifest import Manifest
from dfedge.core.image.name import Ref
from dfedge.core.seams import Clock, ImageId
from dfedge.core.units import duration, short_digest
from dfedge.core.wire.message import Entry
from dfedge.store.catalogue import StoredImage
from dfedge.store.store import Store
from dfedge.transfer.gossip import Gossip
from dfedge.transfer.peers import Peers
from dfedge.trust.nodetrust import NodeTrust

DEFAULT_WAIT: Final = 30.0  # seconds for a first peer
SETTLE: Final = 5.0  # seconds a name may stay unknown once peers are connected: more of them may come
MOST_CANDIDATES: Final = 8  # manifests looked at for one reference
ASK_EVERY: Final = 3.0  # seconds between two questions to the neighbours
RETRY: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Resolved:
    """A verified image: `raw` hashes to its id, `signature` is the signature file, `signer` an allowed name."""

    image: ImageId
    manifest: Manifest
    raw: bytes
    signature: bytes
    signer: str


class Resolver:
    """Finds images among our own and the peers'. `tried` says where peers were looked for, for the error."""

    def __init__(
        self,
        store: Store,
        trust: NodeTrust,
        peers: Peers,
        gossip: Gossip,
        clock: Clock,
        tried: Callable[[], str],
        *,
        network: bool,
    ) -> None:
        self._store = store
        self._trust = trust
        self._peers = peers
        self._gossip = gossip
        self._clock = clock
        self._tried = tried
        self._network = network

    async def resolve(self, ref: Ref, timeout: float | None) -> Resolved:
        """Find the image, waiting for peers that hold it up to `timeout` seconds (None: 30 s for a first peer).

        A name without version means the newest. Raises NotFound, NoPeers, Refused (two different images under one
        name and version), Untrusted.
        """
        start, asked = self._clock(), 0.0
        if not ref.digest and not ref.version and timeout is None:
            await self._first_peer(SETTLE)  # a newer version than ours may be out there
        while True:
            found, refusal = await self._look(ref)
            if found is not None:
                return found
            waited = self._clock() - start
            self._give_up(ref, waited, timeout, refusal)
            if self._network and waited >= asked:
                self._gossip.seek(ref)  # our neighbours may know who holds it
                asked = waited + ASK_EVERY
            with anyio.move_on_after(RETRY):
                await self._peers.changed()

    async def _first_peer(self, seconds: float) -> None:
        if self._network:
            with anyio.move_on_after(seconds):
                while not len(self._peers):
                    await self._peers.changed()

    def _give_up(self, ref: Ref, waited: float, timeout: float | None, refusal: DfedgeError | None) -> None:
        """Raise what the user is told if it has taken long enough."""
        connected = len(self._peers)
        limit = timeout if timeout is not None else (SETTLE if connected else DEFAULT_WAIT)
        if waited < limit and self._network:
            return
        if refusal is not None:
            raise refusal
        if not connected:
            raise NoPeers(f"{ref}: no peer answered in {duration(waited)}; tried {self._tried()}", "dfedge doctor")
        near = ", ".join(self.nearest(ref))
        held = f"; nearest are {near}" if near else "; they hold no images"
        who = "the one peer has it not" if connected == 1 else f"none of {connected} peers has it"
        raise NotFound(f"{ref}: {who}{held}", "dfedge peers")

    def held(self, image: ImageId) -> Resolved:
        """An image whose manifest is here, whole or not. Raises NotFound, or Untrusted where it is trusted no more."""
        files = self._store.manifest_files(image)
        resolved = self._check(image, files, Ref(digest=image.hex())) if files else None
        if resolved is None:
            raise NotFound(f"{short_digest(image)}: its manifest is not in this store", "dfedge ls")
        return resolved

    def seek(self, image: ImageId) -> None:
        """Ask the neighbours who holds an image; who is found is dialled."""
        if self._network:
            self._gossip.seek(Ref(digest=image.hex()))

    def nearest(self, ref: Ref) -> list[str]:
        """The names most like a reference, of those that we or peers hold."""
        ours = {f"{image.name}:{image.version}" for image in self._store.images()}
        theirs = {f"{entry.name}:{entry.version}" for peer in self._peers for entry in peer.catalogue.values()}
        known = sorted(ours | theirs)
        return difflib.get_close_matches(str(ref), known, n=3, cutoff=0.4) or known[:3]

    async def _look(self, ref: Ref) -> tuple[Resolved | None, DfedgeError | None]:
        """One look at what is announced now: the image, or what is wrong with those that were given."""
        complaints: list[DfedgeError] = []
        for group in self._candidates(ref)[:MOST_CANDIDATES]:
            found = [resolved for image in group if (resolved := await self._verified(image, ref, complaints))]
            if len(found) > 1:
                self._refuse(found)
            if found:
                return found[0], None
        return None, complaints[-1] if complaints else None

    def _candidates(self, ref: Ref) -> list[list[ImageId]]:
        """Images that may be meant, as groups of one name and version, the newest group first."""
        groups: dict[tuple[str, str], dict[ImageId, int]] = {}
        held: list[Entry | StoredImage] = [image for image in self._store.images() if image.complete]
        held += [entry for peer in self._peers for entry in peer.catalogue.values()]
        for entry in held:
            if ref.matches(entry.image, entry.name, entry.version):
                groups.setdefault((entry.name, entry.version), {})[ImageId(entry.image)] = entry.created
        ranked = sorted(groups.values(), key=lambda group: max(group.values()), reverse=True)
        if ref.digest and len({image for group in ranked for image in group}) > 1:
            raise Refused(f"{ref}: several images begin so; give more digits")
        return [sorted(group)[:MOST_CANDIDATES] for group in ranked]

    def _refuse(self, found: list[Resolved]) -> None:
        first, second = found[:2]
        name = f"{first.manifest.name}:{first.manifest.version}"
        raise Refused(
            f"{name}: two different images have that name and version: {short_digest(first.image)} signed by "
            f"{first.signer} and {short_digest(second.image)} signed by {second.signer}",
            f"dfedge get {short_digest(first.image)}",
        )

    async def _verified(self, image: ImageId, ref: Ref, complaints: list[DfedgeError]) -> Resolved | None:
        """The image with a manifest that holds and that the reference means, from us or the first peer that has it."""
        files = self._store.manifest_files(image)
        if files is not None:
            return self._check(image, files, ref)
        for peer in self._peers.holders(image):
            if image not in peer.distrusted:
                try:
                    resolved = self._check(image, await peer.connection.manifest(image), ref)
                except DfedgeError as error:
                    peer.distrust(image, type(error)(f"peer {peer.connection.name}: {error}", error.hint))
                else:
                    if resolved is not None:
                        return resolved
            if image in peer.distrusted:
                complaints.append(peer.distrusted[image])
        return None

    def _check(self, image: ImageId, files: tuple[bytes, bytes], ref: Ref) -> Resolved | None:
        raw, signature = files
        signer = self._trust.verify_manifest(raw, signature)
        manifest = Manifest.decode(raw)
        if not ref.matches(image, manifest.name, manifest.version):
            return None
        return Resolved(image, manifest, raw, signature, signer)
