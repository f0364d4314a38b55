"""OpenSSH reads what we make, and we read what OpenSSH makes: no fleet depends on dfedge to inspect its own trust."""

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import anyio
import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dfedge.core.errors import Untrusted
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.jobs.enroll import EnrolledNode, enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join
from dfedge.jobs.revoke import revoke
from dfedge.jobs.sign import sign
from dfedge.trust.nodetrust import NodeTrust
from dfedge.trust.revocation import MAX_REVOCATION
from dfedge.trust.signature import Namespace, verify
from dfedge.trust.signers import AllowedSigners
from dfedge.trust.statement import split

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    init_fleet(tmp_path / "fleet", "Kiosks")
    return tmp_path / "fleet"


@pytest.fixture
def enrolled(fleet: Path, tmp_path: Path) -> EnrolledNode:
    return enroll(fleet, "kiosk-01", {"site": "berlin"}, tmp_path / "enrolment")


def keygen(*arguments: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)], input=data, capture_output=True, timeout=20, check=False
    )


def openssh_verifies(tmp_path: Path, data: bytes, signature: bytes, who: str, allowed: Path, namespace: str) -> bool:
    (tmp_path / "signature").write_bytes(signature)
    arguments = ("-Y", "verify", "-n", namespace, "-I", who, "-f", allowed, "-s", tmp_path / "signature")
    return keygen(*arguments, data=data).returncode == 0


@pytest.mark.parametrize("kind", ["host", "user"])
def test_ssh_keygen_reads_our_certificates(enrolled: EnrolledNode, tmp_path: Path, kind: str) -> None:
    shown = keygen("-L", "-f", tmp_path / "enrolment" / f"{kind}-cert.pub").stdout.decode()
    assert f"ssh-ed25519-cert-v01@openssh.com {kind} certificate" in shown
    assert 'Key ID: "kiosk-01"' in shown
    assert "Serial: 1\n" in shown
    assert re.search(rf"Principals: \n\s+{enrolled.id}\n\s+Critical Options: \(none\)\n\s+Extensions: \(none\)", shown)


def test_ssh_keygen_verifies_our_signed_manifest(fleet: Path, tmp_path: Path) -> None:
    signed = sign(b"a manifest", Namespace.MANIFEST, fleet=fleet)
    where = (tmp_path, b"a manifest", signed.signature, "signer", fleet / "allowed_signers")
    assert openssh_verifies(*where, "dfedge-manifest@v1")
    assert not openssh_verifies(*where, "dfedge-release@v1")


def test_ssh_keygen_verifies_our_statements_once_split(fleet: Path, tmp_path: Path) -> None:
    enroll(fleet, "kiosk-01", {}, tmp_path / "enrolment")
    ca = tmp_path / "ca_signers"
    ca.write_text("ca " + (fleet / "ca.pub").read_text())
    for data, namespace in (
        (revoke(fleet, "kiosk-01").signed, "dfedge-revocation@v1"),
        ((fleet / "root").read_bytes(), "dfedge-root@v1"),
        ((tmp_path / "enrolment" / "node.record").read_bytes(), "dfedge-node@v1"),
    ):
        body, signature = split(data, MAX_REVOCATION)
        assert openssh_verifies(tmp_path, body, signature, "ca", ca, namespace)
        assert not openssh_verifies(tmp_path, body + b"\0", signature, "ca", ca, namespace)


def test_a_node_takes_a_manifest_signed_by_ssh_keygen(fleet: Path, enrolled: EnrolledNode, tmp_path: Path) -> None:
    join(tmp_path / "enrolment", tmp_path / "state")
    node = NodeTrust.open(tmp_path / "state")
    entry = FileEntry("boot.img", 5, b"\1" * 32, "", 0o644, ((5, 1),), b"\1" * 32)
    manifest = Manifest(node.fleet, "gateway/os", "2.4.1", (), int(NOW), (entry,)).encode()
    signed = keygen("-Y", "sign", "-n", "dfedge-manifest@v1", "-f", fleet / "signer", data=manifest).stdout
    assert node.verify_manifest(manifest, signed) == "signer"
    other = keygen("-Y", "sign", "-n", "file", "-f", fleet / "signer", data=manifest).stdout
    with pytest.raises(Untrusted, match="signed for 'file'"):
        node.verify_manifest(manifest, other)


def test_a_hardware_keys_signature_counts(tmp_path: Path) -> None:
    """A FIDO2 token, emulated; ssh-keygen agrees that this is what one sends (PROTOCOL.u2f)."""
    token, data = Ed25519PrivateKey.generate(), b"what is signed"
    algorithm, application, namespace = b"sk-ssh-ed25519@openssh.com", b"ssh:", b"dfedge-manifest@v1"
    public = _string(algorithm) + _string(token.public_key().public_bytes_raw()) + _string(application)
    hashed = hashlib.sha512(data).digest()
    asked = b"SSHSIG" + _string(namespace) + _string(b"") + _string(b"sha512") + _string(hashed)
    flags_and_counter = b"\1" + (7).to_bytes(4, "big")
    touched = token.sign(hashlib.sha256(application).digest() + flags_and_counter + hashlib.sha256(asked).digest())
    proof = _string(algorithm) + _string(touched) + flags_and_counter
    raw = b"SSHSIG\0\0\0\1" + _string(public) + _string(namespace) + _string(b"") + _string(b"sha512") + _string(proof)
    signature = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(raw) + b"-----END SSH SIGNATURE-----\n"
    allowed = tmp_path / "allowed"
    line = base64.b64encode(public).decode()
    allowed.write_text(f'ada namespaces="dfedge-manifest@v1" {algorithm.decode()} {line} ada@token\n')
    signers = AllowedSigners.parse(allowed.read_text(), "allowed")
    assert openssh_verifies(tmp_path, data, signature, "ada", allowed, "dfedge-manifest@v1")
    assert verify(data, signature, Namespace.MANIFEST, signers, NOW).name == "ada"
    with pytest.raises(Untrusted, match="does not match"):
        verify(data + b"!", signature, Namespace.MANIFEST, signers, NOW)


async def test_plain_ssh_logs_in_with_our_certificates(fleet: Path, enrolled: EnrolledNode, tmp_path: Path) -> None:
    """ssh proves itself with our user certificate, checks our host certificate by the CA, and runs one command."""
    other = enroll(fleet, "kiosk-02", {}, tmp_path / "second")
    join(tmp_path / "second", tmp_path / "state")
    node = NodeTrust.open(tmp_path / "state")
    ca = (fleet / "ca.pub").read_text()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"@cert-authority * {ca}")
    names: list[str] = []

    def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        names.append(process.get_extra_info("username"))
        process.stdout.write(f"{process.command} of {node.own.name}\n")
        process.exit(0)

    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=list(node.host_keys()),
        authorized_client_keys=asyncssh.import_authorized_keys(f"cert-authority {ca}"),
        password_auth=False,
        kbdint_auth=False,
        process_factory=answer,
    )
    async with server:
        for login, alias, passes in (
            (enrolled.id, other.id, True),
            (other.id, other.id, False),  # the certificate is of kiosk-01
            (enrolled.id, enrolled.id, False),  # the host is kiosk-02
        ):
            done = await _ssh(tmp_path, login, alias, server.get_port(), known_hosts)
            assert (done == "status of kiosk-02\n") == passes
    assert names == [enrolled.id]


async def _ssh(tmp_path: Path, login: str, alias: str, port: int, known_hosts: Path) -> str:
    enrolment = tmp_path / "enrolment"
    settings = {
        "HostKeyAlias": alias, "UserKnownHostsFile": known_hosts, "GlobalKnownHostsFile": "/dev/null",
        "BatchMode": "yes", "IdentitiesOnly": "yes", "IdentityAgent": "none",
        "CertificateFile": enrolment / "user-cert.pub", "StrictHostKeyChecking": "yes",
        "ConnectTimeout": 10, "LogLevel": "ERROR",
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    command = ["ssh", "-F", "/dev/null", "-T", "-i", str(enrolment / "node_key"), "-p", str(port), *options]
    with anyio.fail_after(30):
        done = await anyio.run_process([*command, f"{login}@127.0.0.1", "status"], check=False)
    return done.stdout.decode()


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
