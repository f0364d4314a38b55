"""A node's credentials: the files that make it a node of a fleet, and the rule that they belong together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, Untrusted
from dfedge.core.seams import NodeId
from dfedge.trust import file
from dfedge.trust.certificate import Kind, check_certificate, parse_certificate
from dfedge.trust.key import fingerprint, load_private, node_id
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.record import MAX_RECORD, NodeRecord, open_record
from dfedge.trust.revocation import MAX_REVOCATION, Revocation, open_revocation
from dfedge.trust.root import MAX_ROOT, Root, open_root
from dfedge.trust.signers import MAX_TEXT, AllowedSigners

asyncssh_lean()

import asyncssh  # noqa: E402

NODE_KEY: Final = "node_key"
NODE_KEY_PUB: Final = "node_key.pub"
HOST_CERT: Final = "host-cert.pub"
USER_CERT: Final = "user-cert.pub"
RECORD: Final = "node.record"
ROOT: Final = "root"
ALLOWED: Final = "allowed_signers"
REVOCATION: Final = "revocation"

NODE_FILES: Final = (HOST_CERT, USER_CERT, RECORD)  # beside the key; what a renewal replaces
TRUST_FILES: Final = (ROOT, ALLOWED, REVOCATION)
_MOST: Final = {ROOT: MAX_ROOT, ALLOWED: MAX_TEXT, REVOCATION: MAX_REVOCATION, RECORD: MAX_RECORD}
_MOST_OTHER: Final = 16 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Verified: the root proves itself, and its CA signed everything else for this very key."""

    key: asyncssh.SSHKey
    node: NodeId
    host: asyncssh.SSHCertificate
    user: asyncssh.SSHCertificate
    starts: int  # seconds since 1970; from when the certificates are valid
    record: NodeRecord
    root: Root
    allowed: AllowedSigners
    revocation: Revocation
    files: Mapping[str, bytes]  # name → bytes of all but the key, as read

    @property
    def ends(self) -> int:
        """Seconds since 1970; when the certificates end."""
        return self.record.ends


def read_files(node: Path, trust: Path) -> dict[str, bytes]:
    """Read all files but the private key. Raises NotFound, Refused or Corrupt."""
    places = [(node, name) for name in NODE_FILES] + [(trust, name) for name in TRUST_FILES]
    return {name: file.read(folder / name, _MOST.get(name, _MOST_OTHER)) for folder, name in places}


def check_credentials(files: Mapping[str, bytes], key: Path, where: Path, now: float) -> Credentials:
    """Verify that the files and the key belong together and are valid at `now`.

    `where` names them in messages. Raises Untrusted or Corrupt that says what does not fit; NotFound without the key.
    """
    root = open_root(files[ROOT], f"{where}: {ROOT}")
    record = open_record(files[RECORD], root, f"{where}: {RECORD}")
    revocation = open_revocation(files[REVOCATION], root, f"{where}: {REVOCATION}")
    allowed = read_allowed(files[ALLOWED], f"{where}/{ALLOWED}")
    root.check_signers(allowed)
    private = load_private(key)
    if node_id(private) != record.id:
        raise Untrusted(
            f"{key}: is {fingerprint(private)}, but the certificates are for node {record.id}",
            f"dfedge fleet enroll {record.name} --key {NODE_KEY_PUB} --out DIR",
        )
    certificates = []
    starts = 0
    for kind, name in ((Kind.HOST, HOST_CERT), (Kind.USER, USER_CERT)):
        certificate = parse_certificate(files[name], f"{where}: {name}")
        moment = max(now, float(record.issued))  # its own issue time is vouched for by the CA
        try:
            node, facts = check_certificate(certificate.public_data, kind, root.ca_keys(), moment, lambda _: False)
        except Untrusted as error:
            raise Untrusted(f"{where}: {name}: {error}", error.hint) from error
        if (node, facts.name, facts.serial, facts.ends) != (record.id, record.name, record.serial, record.ends):
            raise Untrusted(f"{where}: {name} and {RECORD} are not of one enrolment", "dfedge join DIR")
        certificates.append(certificate)
        starts = max(starts, facts.starts)
    host, user = certificates
    return Credentials(private, node_id(private), host, user, starts, record, root, allowed, revocation, dict(files))


def read_allowed(data: bytes, subject: str) -> AllowedSigners:
    """Read `allowed_signers`. Raises Corrupt."""
    try:
        return AllowedSigners.parse(data.decode("utf-8"), subject)
    except UnicodeDecodeError as error:
        raise Corrupt(f"{subject}: not UTF-8 at byte {error.start:,}") from error
