"""What a node believes: its own credentials, its peers' records, revocations and manifests."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt, NotFound, Refused, Untrusted
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.revoke import revoke
from dfedge.jobs.sign import sign
from dfedge.transfer.ports import Gate
from dfedge.trust import file
from dfedge.trust.clock import BUILT
from dfedge.trust.fleetfolder import FleetFolder
from dfedge.trust.nodetrust import NodeTrust
from dfedge.trust.signature import Namespace

MADE = 1_800_000_000
DAY = 86_400

MakeNode = Callable[[str], NodeTrust]


def state(tmp_path: Path, name: str = "kiosk-01") -> Path:
    return tmp_path / f"state-{name}"


def test_it_is_the_gate_that_the_wire_asks(node: MakeNode) -> None:
    gate: Gate = node("kiosk-01")
    assert gate.own_id == gate.read_record(gate.own_record, gate.own_id).id
    assert len(gate.host_keys()) == len(gate.user_keys()) == len(gate.ca_keys()) == 1


def test_two_nodes_of_a_fleet_take_each_other(node: MakeNode) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")
    for kind, keys in (("host", peer.host_keys()), ("user", peer.user_keys())):
        assert here.admit_certificate(keys[0][1].public_data, kind) == peer.own.ends
    record = here.read_record(peer.own_record, peer.own_id)
    assert (record.name, record.labels) == ("kiosk-02", (("site", "berlin"),))


def test_a_record_of_somebody_else_is_refused(node: MakeNode) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")
    with pytest.raises(Untrusted, match="the certificate is of"):
        here.read_record(peer.own_record, here.own_id)


def test_a_host_without_an_enrolment_is_told_to_join(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has not joined a fleet") as caught:
        NodeTrust.open(tmp_path)
    assert caught.value.hint == "dfedge join DIR"


def test_a_node_key_that_others_may_read_is_refused(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    (state(tmp_path) / "node" / "node_key").chmod(0o640)
    with pytest.raises(Untrusted, match="mode 0640"):
        NodeTrust.open(state(tmp_path))


def test_files_of_another_node_do_not_mix_in(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01"), node("kiosk-02")
    for name, why in (
        ("node_key", "but the certificates are for node"),
        ("host-cert.pub", "not of one enrolment"),
        ("user-cert.pub", "not of one enrolment"),
        ("node.record", "but the certificates are for node"),
    ):
        mine = state(tmp_path) / "node" / name
        kept = mine.read_bytes()
        mine.write_bytes((state(tmp_path, "kiosk-02") / "node" / name).read_bytes())
        with pytest.raises(Untrusted, match=why):
            NodeTrust.open(state(tmp_path))
        mine.write_bytes(kept)
    NodeTrust.open(state(tmp_path))


def test_swapped_host_and_user_certificates_are_refused(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    folder = state(tmp_path) / "node"
    (folder / "host-cert.pub").write_bytes((folder / "user-cert.pub").read_bytes())
    with pytest.raises(Untrusted, match="not a host certificate"):
        NodeTrust.open(state(tmp_path))


def test_a_node_whose_certificate_ended_is_told_how_to_renew(node: MakeNode, tmp_path: Path) -> None:
    ends = node("kiosk-01").own.ends
    with pytest.raises(Untrusted, match="ended on") as caught:
        NodeTrust.open(state(tmp_path), wall=lambda: float(ends))
    assert "dfedge fleet enroll kiosk-01" in caught.value.hint


def test_a_root_of_another_fleet_is_refused(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    init_fleet(tmp_path / "other")
    (state(tmp_path) / "trust" / "root").write_bytes((tmp_path / "other" / "root").read_bytes())
    with pytest.raises(Untrusted, match="this is fleet"):
        NodeTrust.open(state(tmp_path))


def test_a_signer_that_the_ca_did_not_sign_is_refused(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    init_fleet(tmp_path / "other")
    path = state(tmp_path) / "trust" / "allowed_signers"
    path.write_text(path.read_text() + (tmp_path / "other" / "allowed_signers").read_text())
    with pytest.raises(Untrusted, match="not a signer of the fleet's root"):
        NodeTrust.open(state(tmp_path))


def test_a_node_may_allow_fewer_signers_than_its_fleet(node: MakeNode, tmp_path: Path, manifest: bytes) -> None:
    node("kiosk-01")
    (state(tmp_path) / "trust" / "allowed_signers").write_text("# nobody\n")
    signed = sign(manifest, Namespace.MANIFEST, fleet=tmp_path / "fleet", now=MADE)
    with pytest.raises(Untrusted, match="who is not in"):
        NodeTrust.open(state(tmp_path)).verify_manifest(manifest, signed.signature)


def test_a_line_without_namespaces_stops_the_node_and_is_named(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    path = state(tmp_path) / "trust" / "allowed_signers"
    path.write_text(path.read_text() + "eve ssh-ed25519 AAAA\n")
    with pytest.raises(Corrupt, match=r"allowed_signers:2: no namespaces="):
        NodeTrust.open(state(tmp_path))


def test_a_signed_manifest_names_its_signer(node: MakeNode, folder: Path, manifest: bytes) -> None:
    signed = sign(manifest, Namespace.MANIFEST, fleet=folder, now=MADE)
    assert node("kiosk-01").verify_manifest(manifest, signed.signature) == "signer"


def test_a_manifest_with_a_bad_signature_is_refused(node: MakeNode, folder: Path, manifest: bytes) -> None:
    here = node("kiosk-01")
    signed = sign(manifest, Namespace.MANIFEST, fleet=folder, now=MADE).signature
    release = sign(manifest, Namespace.RELEASE, fleet=folder, now=MADE).signature
    for data, signature, why in (
        (manifest + b"\0", signed, "does not match the bytes"),
        (manifest, b"", "not a signature"),
        (manifest, release, "signed for 'dfedge-release@v1'"),
    ):
        with pytest.raises(Untrusted, match=why) as caught:
            here.verify_manifest(data, signature)
        assert str(caught.value).startswith("manifest sha256:")


def test_a_manifest_of_another_fleet_or_that_is_none_is_refused(node: MakeNode, folder: Path) -> None:
    here = node("kiosk-01")
    entry = FileEntry("boot.img", 5, b"\1" * 32, "", 0o644, ((5, 1),), b"\1" * 32)
    foreign = Manifest("another", "os", "1", (), MADE, (entry,)).encode()
    for data, why in ((foreign, "of fleet another"), (b"\x01", "not a manifest"), (b"hello", "spelling|canonical")):
        signed = sign(data, Namespace.MANIFEST, fleet=folder, now=MADE)
        with pytest.raises(Untrusted, match=why):
            here.verify_manifest(data, signed.signature)


def test_a_manifest_from_the_future_does_not_outdate_the_fleet(
    node: MakeNode, folder: Path, fleet: FleetFolder
) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")
    entry = FileEntry("boot.img", 5, b"\1" * 32, "", 0o644, ((5, 1),), b"\1" * 32)
    data = Manifest(fleet.root.fleet, "os", "1", (), MADE + 10 * 365 * DAY, (entry,)).encode()
    here.verify_manifest(data, sign(data, Namespace.MANIFEST, fleet=folder, now=MADE).signature)
    assert here.now() > MADE + 365 * DAY
    assert here.admit_certificate(peer.user_keys()[0][1].public_data, "user") == peer.own.ends


def test_a_revocation_holds_at_once_and_after_a_restart(node: MakeNode, folder: Path, tmp_path: Path) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")
    signed = revoke(folder, "kiosk-02", now=MADE).signed
    assert here.accept_revocation(signed)
    assert not here.accept_revocation(signed)
    for gate in (here, NodeTrust.open(state(tmp_path))):
        assert gate.is_revoked(peer.own_id)
        assert gate.revocation == signed
        with pytest.raises(Untrusted, match="is revoked"):
            gate.admit_certificate(peer.user_keys()[0][1].public_data, "user")


def test_an_older_list_never_brings_a_revoked_node_back(node: MakeNode, folder: Path, tmp_path: Path) -> None:
    here, peer, _ = node("kiosk-01"), node("kiosk-02"), node("kiosk-03")
    older = here.revocation
    first = revoke(folder, "kiosk-02", now=MADE).signed
    assert here.accept_revocation(revoke(folder, "kiosk-03", now=MADE).signed)
    assert not here.accept_revocation(first)
    assert not here.accept_revocation(older)
    (state(tmp_path) / "trust" / "revocation").write_bytes(older)  # the file is put back behind our back
    again = NodeTrust.open(state(tmp_path))
    assert "number 0, this node has seen 2" in again.warnings[0]
    assert not again.accept_revocation(first)
    assert again.accept_revocation(here.revocation)
    assert again.is_revoked(peer.own_id)


def test_a_full_disk_does_not_keep_a_revoked_node_in(
    node: MakeNode, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")

    def full(path: Path, data: bytes, mode: int = 0o644) -> None:
        raise file.told(OSError(28, "No space left on device"), path)

    data = revoke(folder, "kiosk-02", now=MADE).signed
    monkeypatch.setattr(file, "write", full)
    assert here.accept_revocation(data)
    assert here.is_revoked(peer.own_id)
    assert any("no space left" in warning for warning in here.warnings)


def test_lost_floors_are_said_and_the_files_raise_them_again(node: MakeNode, folder: Path, tmp_path: Path) -> None:
    here = node("kiosk-01")
    node("kiosk-02")
    here.accept_revocation(revoke(folder, "kiosk-02", now=MADE).signed)
    for name in ("floors.a", "floors.b"):
        (state(tmp_path) / "trust" / name).write_bytes(b"")
    again = NodeTrust.open(state(tmp_path), wall=lambda: 0.0)
    assert "both floors files were broken" in again.warnings[0]
    assert again.now() >= MADE > BUILT
    assert NodeTrust.open(state(tmp_path)).warnings == ()


def test_a_trust_folder_that_others_may_write_is_refused(node: MakeNode, tmp_path: Path) -> None:
    node("kiosk-01")
    folder = state(tmp_path) / "trust"
    folder.chmod(0o777)
    with pytest.raises(Refused, match="others may write in it"):
        NodeTrust.open(state(tmp_path))


def test_nothing_in_the_state_dir_is_readable_by_others(node: MakeNode, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        node("kiosk-01")
    finally:
        os.umask(old)
    for path in state(tmp_path).rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_a_full_disk_did_not_take_is_written_when_it_is_well(
    node: MakeNode, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust, revoked = node("kiosk-01"), node("kiosk-02").own_id
    signed = revoke(folder, "kiosk-02", now=MADE).signed
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fail_full)
        assert trust.accept_revocation(signed)
        assert "no space left" in trust.unkept
        trust.keep_again()
        assert trust.unkept
    trust.keep_again()
    assert not trust.unkept
    assert NodeTrust.open(state(tmp_path), wall=lambda: float(MADE + DAY)).is_revoked(revoked)


def _fail_full(_fd: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
