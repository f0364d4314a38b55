"""The root: the signed, versioned statement of who the fleet is: its CA keys, its signers and their thresholds.

Body: ["dfedge-root", 1, fleet, name, version, made, [CA raw public key…], [[name, key line, [namespace…]]…],
[[namespace, threshold]…]]. The fleet's id is the hash of the CA key that signs it, so a root proves itself.
"""

from dataclasses import dataclass
from typing import Final

from dfedge.core.canonical import MAX_INT, Value, pack
from dfedge.core.errors import DfedgeError, Untrusted
from dfedge.trust.identity import RAW_KEY, fleet_of_raw_key
from dfedge.trust.key import from_raw, parse_public, public_line, raw_public
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.signature import Namespace
from dfedge.trust.signers import AllowedSigners, Signer
from dfedge.trust.statement import array, check_signature, fields, number, seal, split, text

asyncssh_lean()

import asyncssh  # noqa: E402

TYPE: Final = "dfedge-root"
MAX_ROOT: Final = 64 * 1024  # bytes
MAX_CAS: Final = 16
MAX_ROOT_SIGNERS: Final = 256
MAX_FLEET_NAME: Final = 63  # characters


@dataclass(frozen=True, slots=True)
class Root:
    """What the fleet's CA says of the fleet. Raises ValueError where a field is out of range."""

    fleet: str
    name: str  # for people
    version: int  # from 1
    made: int  # seconds since 1970; when the fleet was made, whatever the version
    ca: tuple[bytes, ...]  # raw Ed25519 public keys; the first one's hash is the fleet's id
    signers: tuple[tuple[str, str, tuple[str, ...]], ...]  # name, public key line, namespaces
    thresholds: tuple[tuple[str, int], ...] = ()  # namespace, how many signers it takes; one where it is not named

    def __post_init__(self) -> None:
        if len(self.name) > MAX_FLEET_NAME or not self.name.isprintable():
            raise ValueError(f"fleet name over {MAX_FLEET_NAME} characters or not printable")
        if not 1 <= self.version <= MAX_INT or not 0 <= self.made <= MAX_INT:
            raise ValueError("root: version or time out of range")
        if not 1 <= len(self.ca) <= MAX_CAS or any(len(raw) != RAW_KEY for raw in self.ca):
            raise ValueError(f"root: 1 to {MAX_CAS} CA keys of {RAW_KEY} bytes are allowed")
        if fleet_of_raw_key(self.ca[0]) != self.fleet:
            raise ValueError(f"root: fleet {self.fleet[:40]} is not the one of its first CA key")
        if len(self.signers) > MAX_ROOT_SIGNERS:
            raise ValueError(f"root: {len(self.signers)} signers, the most is {MAX_ROOT_SIGNERS}")
        if any(not 1 <= needed <= MAX_ROOT_SIGNERS for _, needed in self.thresholds):
            raise ValueError("root: a threshold is out of range")

    def ca_keys(self) -> tuple[asyncssh.SSHKey, ...]:
        """The CA keys, to verify certificates and statements with."""
        return tuple(from_raw(raw) for raw in self.ca)

    def encode(self) -> bytes:
        """Spell the body."""
        head = (TYPE, 1, self.fleet, self.name, self.version, self.made)
        return pack((*head, self.ca, self.signers, self.thresholds))

    def seal(self, ca: asyncssh.SSHKey) -> bytes:
        """Sign the root with the CA key that its fleet is named by."""
        assert raw_public(ca) == self.ca[0]
        return seal(self.encode(), ca, Namespace.ROOT)

    def vouches_for(self, signer: Signer) -> bool:
        """Whether the root lists that key, for at least those namespaces."""
        line = public_line(signer.key)
        return any(line == key and set(signer.namespaces) <= set(spaces) for _, key, spaces in self.signers)

    def check_signers(self, allowed: AllowedSigners) -> None:
        """Raises Untrusted if a line allows more than the CA signed; allowing less is up to each node."""
        for signer in allowed.signers:
            if not self.vouches_for(signer):
                raise Untrusted(
                    f"{allowed.subject}: {signer.name} is not a signer of the fleet's root for {signer.namespaces}",
                    "dfedge fleet enroll NAME --key node_key.pub --out DIR, which signs the new list, then join DIR",
                )


def signer_rows(allowed: AllowedSigners) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """The signers of a file, as a root lists them."""
    return tuple((signer.name, public_line(signer.key), signer.namespaces) for signer in allowed.signers)


def decode_root(body: bytes) -> Root:
    """Read a root's body. Raises ValueError, and nothing else."""
    match fields(body, TYPE, MAX_ROOT):
        case fleet, (name, version, made, ca, signers, thresholds):
            return Root(
                fleet,
                text(name, "fleet name"),
                number(version, "version", 1),
                number(made, "time"),
                tuple(_bytes(raw) for raw in array(ca, "list of CA keys")),
                tuple(_row(row) for row in array(signers, "list of signers")),
                tuple(_threshold(row) for row in array(thresholds, "list of thresholds")),
            )
        case _:
            raise ValueError("a root has other fields")


def open_root(data: bytes, subject: str) -> Root:
    """Verify a root by the CA key that its fleet is named by. Raises Untrusted that names `subject`.

    Which fleet it may be is the caller's to know.
    """
    try:
        body, signature = split(data, MAX_ROOT)
        root = decode_root(body)
        ca_keys = root.ca_keys()
    except ValueError as error:
        raise Untrusted(f"{subject}: {error}") from error
    check_signature(body, signature, Namespace.ROOT, ca_keys[:1], subject)
    return root


def _bytes(value: Value) -> bytes:
    if type(value) is not bytes:
        raise ValueError("a CA key is not bytes")
    return value


def _row(row: Value) -> tuple[str, str, tuple[str, ...]]:
    match row:
        case (str(name), str(key), tuple(spaces)):
            _check_key(key)
            return name, key, tuple(text(space, "namespace") for space in spaces)
        case _:
            raise ValueError("a signer has other fields")


def _threshold(row: Value) -> tuple[str, int]:
    match row:
        case (str(space), needed):
            return space, number(needed, "threshold", 1)
        case _:
            raise ValueError("a threshold has other fields")


def _check_key(line: str) -> None:
    try:
        spelt = public_line(parse_public(line, "a signer's key"))
    except DfedgeError as error:
        raise ValueError(str(error)) from error
    if spelt != line:
        raise ValueError("a signer's key is not in its one spelling")
