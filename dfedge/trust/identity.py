"""Ids and names of nodes and fleets, and how they follow from raw Ed25519 public keys."""

import base64
import hashlib
import re
from itertools import pairwise
from typing import Final

from dfedge.core.seams import NodeId

RAW_KEY: Final = 32  # bytes of a raw Ed25519 public key
RAW_ID: Final = 32  # bytes of a SHA-256
MAX_NAME: Final = 63  # characters; a name is one DNS label, for mDNS
FLEET_ID: Final = 32  # characters: 160 bits, and a key whose hash begins with them is as hard to find as can be
MAX_LABEL_KEY: Final = 63  # characters
MAX_LABEL_VALUE: Final = 128  # characters
MAX_LABELS: Final = 16

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"[a-z0-9](?:[a-z0-9._/-]*[a-z0-9])?")
_NODE_ID: Final = re.compile(r"[a-z2-7]{52}")


def id_of_raw_key(raw: bytes) -> NodeId:
    """Name the node that holds the private half of this raw Ed25519 public key."""
    if len(raw) != RAW_KEY:
        raise ValueError(f"a raw Ed25519 public key has {RAW_KEY} bytes, not {len(raw)}")
    return _base32(hashlib.sha256(raw).digest())


def fleet_of_raw_key(raw: bytes) -> str:
    """Name the fleet whose first CA key this is: the root proves itself by it."""
    return id_of_raw_key(raw)[:FLEET_ID]


def id_of_raw(raw: bytes) -> NodeId:
    """Spell a node id from its 32 bytes. Raises ValueError."""
    if len(raw) != RAW_ID:
        raise ValueError(f"a node id has {RAW_ID} bytes, not {len(raw)}")
    return _base32(raw)


def raw_of_id(node: str) -> bytes:
    """Return the 32 bytes of a node id. Raises ValueError."""
    if not _NODE_ID.fullmatch(node):
        raise ValueError(f'"{node[:60]}" is not a node id; it has 52 of a-z 2-7')
    raw = base64.b32decode(node.upper() + "====")
    if _base32(raw) != node:
        raise ValueError(f'"{node}" is not a node id: its last character holds spare bits')
    return raw


def check_node_name(name: str) -> str:
    """Return `name` if a node may have it. Raises ValueError."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ValueError(f'"{name[:70]}" is not a node name; use a-z 0-9 and - (at most {MAX_NAME}), as in "kiosk-07"')
    return name


def check_labels(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return `labels` if a node may have them: sorted, no key twice, printable. Raises ValueError."""
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels, the most is {MAX_LABELS}")
    for key, value in labels:
        if len(key) > MAX_LABEL_KEY or not _LABEL_KEY.fullmatch(key):
            raise ValueError(f'label "{key[:70]}" must be of a-z 0-9 . _ / -, as in "site=berlin"')
        if len(value) > MAX_LABEL_VALUE or not value.isprintable():
            raise ValueError(f'label "{key}" has a value over {MAX_LABEL_VALUE} characters or that cannot be printed')
    if any(left[0] >= right[0] for left, right in pairwise(labels)):
        raise ValueError("labels are not sorted, or one is there twice")
    return labels


def _base32(raw: bytes) -> NodeId:
    return NodeId(base64.b32encode(raw).decode("ascii").lower().rstrip("="))
