"""What the wire needs of its siblings: a store of pieces, and a gate that knows who may pass."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import asyncssh

from dfedge.core.image.manifest import Manifest
from dfedge.core.image.outcome import Outcome
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import Bytes, ImageId, NodeId, PeerRecord

__all__ = ["Gate", "Outcome", "PeerRecord", "PieceStore", "Shelf"]


class PieceStore(Protocol):
    """One image on disk, whole or partial. Whatever it holds is proven; nobody else hashes."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def holds(self) -> PieceMap:
        """The live map; the caller does not change it."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of the pieces held."""
        ...

    async def put(self, piece: int, blocks: Sequence[Bytes]) -> Outcome:
        """Prove a piece against its digest, then write it. The blocks in order are the whole piece.

        Hashes and writes in a worker thread. Raises NoSpace or Corrupt when the disk fails.
        """
        ...

    def twins(self, piece: int) -> Iterable[int]:
        """The pieces with the same bytes as this one, itself included: they are stored together."""
        ...

    async def prove(self, piece: int) -> bool:
        """Re-hash a piece before its first upload since the start or a doubt; false takes it out of the map."""
        ...

    async def recheck(self, piece: int) -> bool:
        """Re-hash a piece now, as somebody complained; false takes it out of the map."""
        ...

    def doubt(self) -> None:
        """Have every piece hashed again before its next upload."""
        ...

    def read(self, piece: int, offset: int, length: int) -> bytes:
        """Read a block of a held piece from the page cache or disk. Raises Corrupt."""
        ...


class Gate(Protocol):
    """Who we are, and who may pass."""

    @property
    def own_id(self) -> NodeId: ...

    @property
    def fleet(self) -> str:
        """The fleet's id."""
        ...

    @property
    def own_record(self) -> bytes:
        """Our signed node record, as it travels."""
        ...

    @property
    def revocation(self) -> bytes:
        """The newest signed revocation list, as it travels."""
        ...

    def host_keys(self) -> Sequence[tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
        """Our key with our host certificate."""
        ...

    def user_keys(self) -> Sequence[tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
        """Our key with our user certificate."""
        ...

    def ca_keys(self) -> Sequence[asyncssh.SSHKey]:
        """The CA keys of the root we hold."""
        ...

    def admit_certificate(self, key_data: bytes, kind: str) -> float:
        """Check a peer's certificate: a certificate, of `kind` "host" or "user", of our CA, exactly one principal,
        that principal the id of its key, not revoked, valid at max(clock, floor).

        Returns when it ends, in seconds since 1970. Raises Untrusted that names the rule.
        """
        ...

    def identify(self, key: asyncssh.SSHKey) -> NodeId:
        """The node id of a public key."""
        ...

    def now(self) -> float:
        """Seconds since 1970: max(clock, time floor)."""
        ...

    def is_revoked(self, node: NodeId) -> bool: ...

    def read_record(self, data: bytes, node: NodeId) -> PeerRecord:
        """Verify a peer's signed node record against the id that its certificate proved. Raises Untrusted."""
        ...

    def read_any_record(self, data: bytes) -> PeerRecord:
        """Verify a signed node record that somebody passed on. Raises Untrusted."""
        ...

    def accept_revocation(self, data: bytes) -> bool:
        """Verify a signed revocation list and keep it if it is newer; true says it was. Raises Untrusted."""
        ...

    def verify_manifest(self, data: bytes, signature: bytes) -> str:
        """Verify a manifest's signature; returns the signer's name. Raises Untrusted."""
        ...


class Shelf(Protocol):
    """Where the images are that we may serve."""

    def manifest(self, image: ImageId) -> tuple[bytes, bytes] | None:
        """The manifest's bytes and its signature file, if we hold it."""
        ...

    def lease(self, image: ImageId) -> AbstractContextManager[None]:
        """Keep an image from eviction while it is served."""
        ...

    def open(self, image: ImageId) -> PieceStore | None:
        """The pieces of an image that we hold whole, to serve them."""
        ...
