"""Names and Protocols on which sibling rooms meet without importing each other."""

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


class Allowance(Protocol):
    """What may be moved in one direction. Cheap enough to be asked for every block."""

    def take(self, nbytes: int) -> float:
        """Spend `nbytes` and return how many seconds to wait before moving them; 0.0 means go on at once."""
        ...
