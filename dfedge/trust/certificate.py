"""OpenSSH certificates: how the fleet's CA issues them, and which of them may pass."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from dfedge.core.errors import Corrupt, Untrusted
from dfedge.core.seams import NodeId
from dfedge.trust.blob import Blob
from dfedge.trust.key import fingerprint, node_id, raw_public
from dfedge.trust.lean import asyncssh_lean

asyncssh_lean()

import asyncssh  # noqa: E402

ALGORITHM: Final = "ssh-ed25519-cert-v01@openssh.com"
DAY: Final = 86_400  # seconds
DEFAULT_DAYS: Final = 3 * 365
MAX_CERTIFICATE: Final = 8 * 1024  # bytes; ours have about 600


class Kind(Enum):
    """What a certificate is for. The value is the word in messages, `number` the one in the certificate."""

    HOST = "host"
    USER = "user"

    @property
    def number(self) -> int:
        return 2 if self is Kind.HOST else 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of itself, once its CA's signature holds."""

    number: int  # 1 user, 2 host
    serial: int
    name: str  # the key id: for people
    principals: tuple[str, ...]
    starts: int  # seconds since 1970
    ends: int


def issue(
    ca: asyncssh.SSHKey,
    key: asyncssh.SSHKey,
    kind: Kind,
    *,
    name: str,
    serial: int,
    starts: int,
    ends: int,
) -> asyncssh.SSHCertificate:
    """Let the CA say that `key` is its own node id, from `starts` to `ends` (seconds since 1970).

    It permits nothing else: no forwarding, no terminal.
    """
    principals = [node_id(key)]
    if kind is Kind.HOST:
        return ca.generate_host_certificate(
            key, name, serial=serial, principals=principals, valid_after=starts, valid_before=ends, comment=name
        )
    return ca.generate_user_certificate(
        key,
        name,
        serial=serial,
        principals=principals,
        valid_after=starts,
        valid_before=ends,
        permit_x11_forwarding=False,
        permit_agent_forwarding=False,
        permit_port_forwarding=False,
        permit_pty=False,
        permit_user_rc=False,
        comment=name,
    )


def certificate_file(certificate: asyncssh.SSHCertificate) -> bytes:
    """Spell a certificate as OpenSSH's `-cert.pub` file."""
    return certificate.export_certificate()


def parse_certificate(data: bytes, subject: str) -> asyncssh.SSHCertificate:
    """Read a `-cert.pub` file. Raises Corrupt that names `subject`."""
    try:
        return asyncssh.import_certificate(data)
    except ValueError as error:
        raise Corrupt(f"{subject}: not a certificate in OpenSSH's format ({str(error).lower()})") from error


def facts(data: bytes) -> Facts:
    """Read what a certificate's bytes say; the caller has checked the CA's signature. Raises ValueError."""
    blob = Blob(data)
    if blob.text() != ALGORITHM:
        raise ValueError("not an Ed25519 certificate")
    blob.string()  # nonce
    blob.string()  # public key
    serial, number, name, principals = blob.u64(), blob.u32(), blob.text(), blob.strings()
    return Facts(number, serial, name, principals, blob.u64(), blob.u64())


def check_certificate(
    data: bytes,
    kind: Kind,
    ca_keys: Iterable[asyncssh.SSHKey],
    now: float,
    is_revoked: Callable[[NodeId], bool],
) -> tuple[NodeId, Facts]:
    """Return whose certificate this is and what it says, if it may pass at `now`. Raises Untrusted naming the rule."""
    certificate, said = _decode(data)
    subject = f"certificate of {said.name[:63]!r}" if said.name else "a certificate without a name"
    if not any(certificate.signing_key.public_data == ca.public_data for ca in ca_keys):
        signer = fingerprint(certificate.signing_key)
        raise Untrusted(f"{subject}: signed by {signer}, which is no CA of this fleet", "dfedge join DIR")
    if said.number != kind.number:
        raise Untrusted(f"{subject}: not a {kind.value} certificate")
    node = node_id(certificate.key)
    if len(said.principals) != 1:
        raise Untrusted(f"{subject}: has {len(said.principals)} principals, exactly one is allowed")
    if said.principals[0] != node:
        raise Untrusted(f"{subject}: is for {said.principals[0][:60]!r}, its key is {node}")
    if is_revoked(node):
        raise Untrusted(f"{subject}: node {node} is revoked")
    if now < said.starts:
        raise Untrusted(f"{subject}: begins on {_date(said.starts)}, it is {_date(now)} here", "date -u")
    if now >= said.ends:
        hint = f"dfedge fleet enroll {said.name} --key node_key.pub --out DIR"
        raise Untrusted(f"{subject}: ended on {_date(said.ends)}, it is {_date(now)} here", hint)
    return node, said


def _decode(data: bytes) -> tuple[asyncssh.public_key.SSHOpenSSHCertificate, Facts]:
    if len(data) > MAX_CERTIFICATE:
        raise Untrusted(f"a certificate of {len(data):,} bytes, the most is {MAX_CERTIFICATE:,}")
    try:
        certificate = asyncssh.public_key.decode_ssh_certificate(data)  # checks the signature by the key named in it
        said = facts(data)
    except ValueError as error:
        if _is_key(data):
            raise Untrusted("a bare key where a certificate belongs") from error
        raise Untrusted(f"not a certificate ({str(error).lower()})") from error
    if not isinstance(certificate, asyncssh.public_key.SSHOpenSSHCertificate):
        raise Untrusted("not an OpenSSH certificate")
    raw_public(certificate.key)
    return certificate, said


def _is_key(data: bytes) -> bool:
    try:
        asyncssh.public_key.decode_ssh_public_key(data)
    except ValueError:
        return False
    return True


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:.0f}"
