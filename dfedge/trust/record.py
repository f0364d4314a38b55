"""The node record: what the fleet's CA says a node's name and labels are. Nobody believes self-made ones.

Body: ["dfedge-node", 1, fleet, id (32 bytes), name, [[label, value]…], serial, issued, ends].
"""

from dataclasses import dataclass
from typing import Final

from dfedge.core.canonical import MAX_INT, Value, pack
from dfedge.core.errors import Untrusted
from dfedge.core.seams import NodeId, PeerRecord
from dfedge.trust.identity import check_labels, check_node_name, id_of_raw, raw_of_id
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.root import Root
from dfedge.trust.signature import Namespace
from dfedge.trust.statement import array, check_signature, fields, number, seal, split, text

asyncssh_lean()

import asyncssh  # noqa: E402

TYPE: Final = "dfedge-node"
MAX_RECORD: Final = 1_900  # bytes; 32 of them fit one message of 64 KiB


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What the CA says of a node. Raises ValueError where a field is out of range."""

    fleet: str
    id: NodeId
    name: str
    labels: tuple[tuple[str, str], ...]
    serial: int  # from 1, rises with each renewal
    issued: int  # seconds since 1970
    ends: int  # seconds since 1970; when the certificates end

    def __post_init__(self) -> None:
        check_node_name(self.name)
        check_labels(self.labels)
        if not 1 <= self.serial <= MAX_INT or not 0 <= self.issued < self.ends <= MAX_INT:
            raise ValueError("node record: serial or time out of range")

    @property
    def peer(self) -> PeerRecord:
        """The part that other rooms know."""
        return PeerRecord(self.id, self.name, self.labels, self.serial, self.ends)

    def encode(self) -> bytes:
        """Spell the body."""
        head = (TYPE, 1, self.fleet, raw_of_id(self.id), self.name)
        return pack((*head, self.labels, self.serial, self.issued, self.ends))

    def seal(self, ca: asyncssh.SSHKey) -> bytes:
        """Sign the record with a CA key. Raises ValueError if it would be too long to travel."""
        data = seal(self.encode(), ca, Namespace.NODE)
        if len(data) > MAX_RECORD:
            raise ValueError(f"node record of {len(data):,} bytes, the most is {MAX_RECORD:,}; use shorter labels")
        return data


def decode_record(body: bytes) -> NodeRecord:
    """Read a record's body. Raises ValueError, and nothing else."""
    match fields(body, TYPE, MAX_RECORD):
        case fleet, (bytes(id_), name, labels, serial, issued, ends):
            return NodeRecord(
                fleet,
                id_of_raw(id_),
                text(name, "name"),
                tuple(_label(pair) for pair in array(labels, "list of labels")),
                number(serial, "serial", 1),
                number(issued, "time"),
                number(ends, "end"),
            )
        case _:
            raise ValueError("a node record has other fields")


def open_record(data: bytes, root: Root, subject: str = "node record") -> NodeRecord:
    """Verify a record by the root. Raises Untrusted that names `subject`."""
    try:
        body, signature = split(data, MAX_RECORD)
        record = decode_record(body)
    except ValueError as error:
        raise Untrusted(f"{subject}: {error}") from error
    if record.fleet != root.fleet:
        raise Untrusted(f"{subject}: of fleet {record.fleet[:40]}, this is fleet {root.fleet}")
    check_signature(body, signature, Namespace.NODE, root.ca_keys(), subject)
    return record


def _label(pair: Value) -> tuple[str, str]:
    match pair:
        case (str(key), str(value)):
            return key, value
        case _:
            raise ValueError("a label has other fields")
