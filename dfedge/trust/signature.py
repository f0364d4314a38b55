"""Signatures in OpenSSH's SSHSIG format, each in a namespace that says what was meant by it.

What `ssh-keygen -Y sign` makes, `verify` takes, and the other way round (PROTOCOL.sshsig of OpenSSH).
"""

import base64
import binascii
from enum import Enum
from typing import Final

from dfedge.core.errors import Untrusted
from dfedge.trust.blob import Blob
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.signers import AllowedSigners, Signer

asyncssh_lean()

import asyncssh  # noqa: E402

MAX_SIGNATURE: Final = 8 * 1024  # bytes, armored; an Ed25519 one has 300
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----"
_END: Final = b"-----END SSH SIGNATURE-----"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1


class Namespace(Enum):
    """What a signature was made for. One made for another purpose never counts."""

    MANIFEST = "dfedge-manifest@v1"
    RELEASE = "dfedge-release@v1"
    ROOT = "dfedge-root@v1"
    REVOCATION = "dfedge-revocation@v1"
    NODE = "dfedge-node@v1"
    REPORT = "dfedge-report@v1"


def sign(key: asyncssh.SSHKey, data: bytes, namespace: Namespace) -> bytes:
    """Sign `data`, armored as `ssh-keygen -Y sign` does it."""
    return asyncssh.create_sshsig(key, data, namespace=namespace.value)


def verify(data: bytes, signature: bytes, namespace: Namespace, allowed: AllowedSigners, now: float) -> Signer:
    """Return who signed `data` for this purpose. Raises Untrusted that says which rule does not hold."""
    key, said, raw = read_signature(signature)
    if said != namespace.value:
        raise Untrusted(f"signed for {said[:60]!r}, not for {namespace.value!r}")
    signer = allowed.find(key, namespace.value, now)
    only = Signer(signer.name, signer.key, (namespace.value,))  # the times are judged above, by our clock
    try:
        holds = asyncssh.validate_sshsig(data, raw, signer.name, only.line().encode())
    except ValueError:  # such as a hash that asyncssh does not know
        holds = False
    if not holds:
        raise Untrusted(f"the signature of {signer.name} does not match the bytes")
    return signer


def read_signature(signature: bytes) -> tuple[asyncssh.SSHKey, str, bytes]:
    """Return the key and the namespace that a signature names, and its bytes; nothing is verified yet.

    Raises Untrusted.
    """
    try:
        raw = _unarmor(signature)
        blob = Blob(raw)
        if blob.take(len(_MAGIC)) != _MAGIC or blob.u32() != _VERSION:
            raise ValueError("not SSHSIG of version 1")
        public, namespace = blob.string(), blob.text()
        blob.string()  # reserved
        blob.string()  # hash
        blob.string()  # signature
        blob.end()
    except ValueError as error:
        raise Untrusted(f"not a signature ({error})", "ssh-keygen -Y sign -n NAMESPACE -f KEY FILE") from error
    try:
        return asyncssh.public_key.decode_ssh_public_key(public), namespace, raw
    except ValueError as error:
        raise Untrusted("not signed with a plain key; certificates and unknown kinds of key are refused") from error


def _unarmor(signature: bytes) -> bytes:
    if len(signature) > MAX_SIGNATURE:
        raise ValueError(f"{len(signature):,} bytes, the most is {MAX_SIGNATURE:,}")
    lines = signature.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise ValueError("no SSH SIGNATURE armor")
    try:
        return base64.b64decode(b"".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError("broken base64") from error
