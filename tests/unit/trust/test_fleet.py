"""An operator makes a fleet, enrols nodes and takes them out again."""

import stat
import subprocess
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt, NotFound, Refused, Untrusted, UsageError
from dfedge.jobs.enroll import enroll, list_nodes
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import make_key
from dfedge.jobs.revoke import revoke
from dfedge.trust.fleetfolder import FleetFolder
from dfedge.trust.key import make_key as new_key
from dfedge.trust.key import public_line

MADE = 1_800_000_000
DAY = 86_400


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_fleet_is_a_folder_for_its_operator_alone(folder: Path) -> None:
    assert files(folder) == {"ca", "ca.pub", "signer", "signer.pub", "root", "allowed_signers", "revocation"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("ca", "signer"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        subprocess.run(["ssh-keygen", "-y", "-f", folder / name], check=True, capture_output=True)


def test_a_fleet_is_not_made_over_something(folder: Path, tmp_path: Path) -> None:
    before = (folder / "ca").read_bytes()
    with pytest.raises(Refused, match="already holds a fleet"):
        init_fleet(folder)
    assert (folder / "ca").read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="not a folder"):
        init_fleet(tmp_path / "link")
    (tmp_path / "empty").mkdir()
    init_fleet(tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    init_fleet(tmp_path / "f", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    init_fleet(tmp_path / "f")
    before = files(tmp_path)
    enroll(tmp_path / "f", "kiosk-01", {}, tmp_path / "out", dry_run=True)
    assert files(tmp_path) == before
    enroll(tmp_path / "f", "kiosk-01", {}, tmp_path / "out")
    revoke(tmp_path / "f", "kiosk-01", dry_run=True)
    assert not list_nodes(tmp_path / "f")[0].revoked


def test_an_enrolment_holds_all_that_a_node_needs(folder: Path, tmp_path: Path) -> None:
    node = enroll(folder, "kiosk-01", {"site": "berlin", "line": "3"}, tmp_path / "out", now=MADE + 5)
    public = {"node_key.pub", "host-cert.pub", "user-cert.pub", "node.record"}
    assert files(tmp_path / "out") == public | {"node_key", "root", "allowed_signers", "revocation"}
    assert files(folder / "nodes" / "kiosk-01") == public
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "out" / "node_key").stat().st_mode) == 0o600
    assert node.labels == (("line", "3"), ("site", "berlin"))
    assert node.ends == MADE + 5 + 3 * 365 * DAY
    assert list_nodes(folder) == [node]


def test_a_private_key_made_on_its_node_never_leaves_it(folder: Path, tmp_path: Path) -> None:
    made = make_key(tmp_path / "state")
    node = enroll(folder, "kiosk-01", {}, tmp_path / "out", key=made.public, now=MADE)
    assert node.id == made.id
    assert "node_key" not in files(tmp_path / "out")
    assert not make_key(tmp_path / "state").made
    assert make_key(tmp_path / "state").id == made.id


def test_a_private_key_handed_over_by_mistake_is_refused(folder: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "state")
    with pytest.raises(Refused, match=r"give the public one, it ends in \.pub"):
        enroll(folder, "kiosk-01", {}, tmp_path / "out", key=tmp_path / "state" / "node" / "node_key")


def test_a_key_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "k"], check=True)
    with pytest.raises(Untrusted, match="only ssh-ed25519"):
        enroll(folder, "kiosk-01", {}, tmp_path / "out", key=tmp_path / "k.pub")


def test_the_same_key_renews_and_another_is_refused(folder: Path, tmp_path: Path) -> None:
    enroll(folder, "kiosk-01", {}, tmp_path / "a", now=MADE)
    with pytest.raises(Refused, match="already enrolled with another key") as caught:
        enroll(folder, "kiosk-01", {}, tmp_path / "b", now=MADE)
    assert caught.value.hint == "dfedge fleet enroll kiosk-01 --key node_key.pub --out DIR"
    assert not (tmp_path / "b").exists()
    renewed = enroll(folder, "kiosk-01", {}, tmp_path / "b", key=tmp_path / "a" / "node_key.pub", now=MADE + DAY)
    assert renewed.serial == 2
    assert list_nodes(folder) == [renewed]


def test_one_key_is_one_node(folder: Path, tmp_path: Path) -> None:
    enroll(folder, "kiosk-01", {}, tmp_path / "a", now=MADE)
    with pytest.raises(Refused, match="already enrolled as kiosk-01"):
        enroll(folder, "kiosk-02", {}, tmp_path / "b", key=tmp_path / "a" / "node_key.pub", now=MADE)


def test_a_revoked_node_comes_back_only_with_a_new_key(folder: Path, tmp_path: Path) -> None:
    old = enroll(folder, "kiosk-01", {}, tmp_path / "a", now=MADE)
    revoke(folder, "kiosk-01", now=MADE)
    with pytest.raises(Refused, match="its key is revoked"):
        enroll(folder, "kiosk-01", {}, tmp_path / "b", key=tmp_path / "a" / "node_key.pub", now=MADE)
    new = enroll(folder, "kiosk-01", {}, tmp_path / "b", now=MADE)
    assert new.id != old.id
    assert new.serial == 2
    assert not list_nodes(folder)[0].revoked
    assert old.id in FleetFolder.open(folder).revocation.nodes


@pytest.mark.parametrize("name", ["", "Kiosk", "kiosk_1", "-a", "a-", "a.b", "../x", "x" * 64, "ä"])
def test_a_name_that_is_no_dns_label_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a node name"):
        enroll(folder, name, {}, tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "days"), [({"Site": "x"}, 1), ({"a": "\n"}, 1), ({}, 0), ({f"l{n}": "v" for n in range(17)}, 1)]
)
def test_labels_and_days_out_of_range_are_refused(
    folder: Path, tmp_path: Path, labels: dict[str, str], days: int
) -> None:
    with pytest.raises(UsageError):
        enroll(folder, "kiosk-01", labels, tmp_path / "out", days=days)
    assert not (tmp_path / "out").exists()


def test_an_enrolment_is_not_written_over_something(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(Refused, match="already exists"):
        enroll(folder, "kiosk-01", {}, tmp_path / "out")
    assert list_nodes(folder) == []


def test_a_revocation_counts_up_and_can_be_repeated(folder: Path, tmp_path: Path) -> None:
    for name in ("kiosk-01", "kiosk-02"):
        enroll(folder, name, {}, tmp_path / name, now=MADE)
    assert revoke(folder, "kiosk-01", now=MADE).sequence == 1
    info = revoke(folder, "kiosk-02", now=MADE)
    assert (info.sequence, info.revoked, info.already) == (2, 2, False)
    again = revoke(folder, "kiosk-02", now=MADE)
    assert (again.sequence, again.already) == (2, True)
    assert again.signed == info.signed == info.path.read_bytes()


def test_an_unknown_name_is_answered_with_the_nearest(folder: Path, tmp_path: Path) -> None:
    enroll(folder, "kiosk-07", {}, tmp_path / "out", now=MADE)
    with pytest.raises(NotFound, match="did you mean kiosk-07"):
        revoke(folder, "kiosk-70")
    with pytest.raises(NotFound, match="no node of that name"):
        revoke(folder, "../fleet")


def test_where_there_is_no_fleet_one_is_told_how_to_make_it(tmp_path: Path) -> None:
    for attempt in (lambda: enroll(tmp_path / "f", "a", {}, tmp_path / "o"), lambda: revoke(tmp_path / "f", "a")):
        with pytest.raises(NotFound, match="no fleet is here") as caught:
            attempt()
        assert caught.value.hint.startswith("dfedge fleet init")


def test_a_ca_key_that_others_may_read_issues_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "ca").chmod(0o644)
    with pytest.raises(Untrusted, match="mode 0644"):
        enroll(folder, "kiosk-01", {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_signer_added_by_hand_is_signed_into_the_next_root(folder: Path, tmp_path: Path) -> None:
    line = f'bea namespaces="dfedge-manifest@v1" {public_line(new_key("bea"))}\n'
    with (folder / "allowed_signers").open("a") as out:
        out.write(line)
    enroll(folder, "kiosk-01", {}, tmp_path / "out", now=MADE)
    fleet = FleetFolder.open(folder)
    assert fleet.root.version == 2
    assert (tmp_path / "out" / "root").read_bytes() == fleet.root_data
    assert [name for name, _, _ in fleet.root.signers] == ["signer", "bea"]


def test_a_broken_allowed_signers_stops_the_operator_not_the_nodes(folder: Path, tmp_path: Path) -> None:
    (folder / "allowed_signers").write_text("bea ssh-ed25519 AAAA\n")
    with pytest.raises(Corrupt, match="allowed_signers:1: no namespaces="):
        enroll(folder, "kiosk-01", {}, tmp_path / "out")
