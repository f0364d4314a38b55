"""The revocation list: which nodes of the fleet are no longer of it. It travels first in every hello.

Body: ["dfedge-revocation", 1, fleet, sequence, issued, ids], where `ids` is a string of 32 bytes a node, sorted.
"""

from dataclasses import dataclass
from typing import Final

from dfedge.core.canonical import MAX_INT, pack
from dfedge.core.errors import Untrusted
from dfedge.core.seams import NodeId
from dfedge.trust.identity import RAW_ID, id_of_raw, raw_of_id
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.root import Root
from dfedge.trust.signature import Namespace
from dfedge.trust.statement import check_signature, fields, number, seal, split

asyncssh_lean()

import asyncssh  # noqa: E402

TYPE: Final = "dfedge-revocation"
MAX_REVOKED: Final = 1_500  # nodes; with a node record the list still fits one hello of 64 KiB
MAX_REVOCATION: Final = 50 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Revocation:
    """Which nodes are revoked. Raises ValueError where a field is out of range."""

    fleet: str
    sequence: int  # from 0, the empty list of a new fleet
    issued: int  # seconds since 1970
    nodes: frozenset[NodeId]

    def __post_init__(self) -> None:
        if not 0 <= self.sequence <= MAX_INT or not 0 <= self.issued <= MAX_INT:
            raise ValueError("revocation list: sequence or time out of range")
        if len(self.nodes) > MAX_REVOKED:
            raise ValueError(f"revocation list: {len(self.nodes):,} nodes, the most is {MAX_REVOKED:,}")

    def encode(self) -> bytes:
        """Spell the body."""
        ids = b"".join(sorted(raw_of_id(node) for node in self.nodes))
        return pack((TYPE, 1, self.fleet, self.sequence, self.issued, ids))

    def seal(self, ca: asyncssh.SSHKey) -> bytes:
        """Sign the list with a CA key."""
        return seal(self.encode(), ca, Namespace.REVOCATION)


def decode_revocation(body: bytes) -> Revocation:
    """Read a list's body. Raises ValueError, and nothing else."""
    match fields(body, TYPE, MAX_REVOCATION):
        case fleet, (sequence, issued, bytes(ids)):
            raws = [ids[at : at + RAW_ID] for at in range(0, len(ids), RAW_ID)]
            if raws != sorted(set(raws)):
                raise ValueError("revocation list: not sorted, or a node is there twice")
            nodes = frozenset(id_of_raw(raw) for raw in raws)
            return Revocation(fleet, number(sequence, "sequence"), number(issued, "time"), nodes)
        case _:
            raise ValueError("a revocation list has other fields")


def open_revocation(data: bytes, root: Root, subject: str = "revocation list") -> Revocation:
    """Verify a list by the root. Raises Untrusted that names `subject`."""
    try:
        body, signature = split(data, MAX_REVOCATION)
        revocation = decode_revocation(body)
    except ValueError as error:
        raise Untrusted(f"{subject}: {error}") from error
    if revocation.fleet != root.fleet:
        raise Untrusted(f"{subject}: of fleet {revocation.fleet[:40]}, this is fleet {root.fleet}")
    check_signature(body, signature, Namespace.REVOCATION, root.ca_keys(), subject)
    return revocation
