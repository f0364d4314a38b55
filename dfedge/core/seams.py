"""Names and Protocols on which sibling rooms meet without importing each other."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NewType, Protocol, TypeAlias

NodeId = NewType("NodeId", str)
"""base32 (lower case, no padding, 52 characters) of SHA-256 of the node's raw Ed25519 public key."""

ImageId = NewType("ImageId", bytes)
"""SHA-256 (32 bytes) of the canonical bytes of a manifest."""

Bytes: TypeAlias = bytes | memoryview
"""What came from the wire is handed on as it lies, to be hashed and written without a copy."""


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """What the fleet's CA says of a node: nobody believes self-made names or labels."""

    id: NodeId
    name: str
    labels: tuple[tuple[str, str], ...]
    serial: int
    ends: int  # seconds since 1970; when the certificates end


class Clock(Protocol):
    """Monotonic seconds."""

    def __call__(self) -> float: ...


class Lane(Protocol):
    """What may be moved to or from one peer. Cheap enough to be asked for every block."""

    def wait(self, image: ImageId) -> float:
        """Seconds to wait before bytes of the image may move; 0.0: now. Ask again after it."""
        ...

    def spend(self, nbytes: int, image: ImageId) -> None:
        """So many bytes are moved, or asked for."""
        ...

    @property
    def grain(self) -> int | None:
        """The most to move at once, in bytes; None: as it comes."""
        ...

    @property
    def ahead(self) -> int | None:
        """The most to ask of all peers together and not have yet, in bytes; None: as it comes."""
        ...


class Allowance(Protocol):
    """What may be moved in one direction."""

    def lane(self, address: str) -> AbstractContextManager[Lane]:
        """The lane of the peer at `host:port`, for as long as its session lasts."""
        ...
