"""Ed25519 keys of nodes, CAs and signers, in OpenSSH's files."""

from pathlib import Path
from typing import Final, TypeAlias

from dfedge.core.errors import Corrupt, Refused, Untrusted
from dfedge.core.seams import NodeId
from dfedge.trust import file
from dfedge.trust.blob import Blob
from dfedge.trust.identity import RAW_KEY, id_of_raw_key
from dfedge.trust.lean import asyncssh_lean

asyncssh_lean()

import asyncssh  # noqa: E402

Key: TypeAlias = asyncssh.SSHKey  # for rooms that do not import asyncssh

ALGORITHM: Final = "ssh-ed25519"
MAX_KEY_FILE: Final = 16 * 1024  # bytes


class NeedsPassphrase(Refused):
    """The private key is encrypted; ssh-keygen can ask for the passphrase, we do not."""


def make_key(comment: str) -> asyncssh.SSHKey:
    """Make a new Ed25519 key."""
    return asyncssh.generate_private_key(ALGORITHM, comment=comment)


def raw_public(key: asyncssh.SSHKey) -> bytes:
    """Return the 32 raw bytes of an Ed25519 public key. Raises Untrusted for any other kind."""
    try:
        blob = Blob(key.public_data)
        algorithm, raw = blob.text(), blob.string()
    except ValueError as error:
        raise Untrusted(f"key {fingerprint(key)}: {error}") from error
    if algorithm != ALGORITHM or len(raw) != RAW_KEY or not blob.at_end:
        raise Untrusted(f"key {fingerprint(key)}: is {algorithm}, only {ALGORITHM} names a node or a fleet")
    return raw


def from_raw(raw: bytes) -> asyncssh.SSHKey:
    """Return the public key with these 32 raw bytes. Raises ValueError."""
    if len(raw) != RAW_KEY:
        raise ValueError(f"a raw Ed25519 public key has {RAW_KEY} bytes, not {len(raw)}")
    name = ALGORITHM.encode()
    return asyncssh.public_key.decode_ssh_public_key(
        len(name).to_bytes(4, "big") + name + len(raw).to_bytes(4, "big") + raw
    )


def node_id(key: asyncssh.SSHKey) -> NodeId:
    """Name the node that holds this key. Raises Untrusted if it is not Ed25519."""
    return id_of_raw_key(raw_public(key))


def fingerprint(key: asyncssh.SSHKey) -> str:
    """Name a key as `ssh-keygen -l` does: `SHA256:…`."""
    return key.get_fingerprint()


def same(left: asyncssh.SSHKey, right: asyncssh.SSHKey) -> bool:
    """Whether both have one public half."""
    return left.public_data == right.public_data


def public_line(key: asyncssh.SSHKey) -> str:
    """Spell the public half as one line of OpenSSH, without comment: `ssh-ed25519 AAAA…`."""
    algorithm, data = key.export_public_key().decode("ascii").split()[:2]
    return f"{algorithm} {data}"


def public_file(key: asyncssh.SSHKey, comment: str) -> bytes:
    """Spell the public half as the `.pub` file."""
    return f"{public_line(key)} {comment}\n".encode()


def parse_public(text: str, subject: str) -> asyncssh.SSHKey:
    """Read a line of an OpenSSH public key. Raises Corrupt that names `subject`."""
    try:
        return asyncssh.import_public_key(text)
    except ValueError as error:  # asyncssh.KeyImportError is one
        raise Corrupt(f"{subject}: not a public key in OpenSSH's format ({str(error).lower()})") from error


def load_public(path: Path) -> asyncssh.SSHKey:
    """Read a `.pub` file. Raises NotFound, Corrupt; Refused if it is a private key."""
    data = file.read(path, MAX_KEY_FILE)
    if b"PRIVATE KEY" in data[:64]:
        raise Refused(f"{path}: a private key; give the public one, it ends in .pub", f"ssh-keygen -y -f {path}")
    return parse_public(data.decode("utf-8", "replace"), str(path))


def load_private(path: Path) -> asyncssh.SSHKey:
    """Read an OpenSSH private key.

    Raises NotFound; Untrusted if others may read it; NeedsPassphrase; Corrupt.
    """
    data = file.read_private(path, MAX_KEY_FILE)
    try:
        return asyncssh.import_private_key(data)
    except ValueError as error:  # asyncssh.KeyImportError and KeyEncryptionError are ones
        reason = str(error).lower()
        if "passphrase" in reason:
            raise NeedsPassphrase(
                f"{path}: has a passphrase, only signing asks for it", f"ssh-keygen -p -f {path}"
            ) from error
        raise Corrupt(f"{path}: not a private key in OpenSSH's format ({reason})") from error


def private_file(key: asyncssh.SSHKey) -> bytes:
    """Spell a private key as OpenSSH's file, without passphrase."""
    return key.export_private_key()
