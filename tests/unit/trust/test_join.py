"""A host becomes a node wholly or not at all, and never by mistake another one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt, DfedgeError, NotFound, Refused, Untrusted
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join, make_key
from dfedge.jobs.revoke import revoke
from dfedge.trust.key import make_key as new_key
from dfedge.trust.key import public_line
from dfedge.trust.nodetrust import NodeTrust

MADE = 1_800_000_000
DAY = 86_400


@pytest.fixture
def enrolment(folder: Path, tmp_path: Path) -> Path:
    enroll(folder, "kiosk-01", {"site": "berlin"}, tmp_path / "enrolment", now=MADE)
    return tmp_path / "enrolment"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def contents(state: Path) -> dict[str, bytes]:
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


def test_a_host_becomes_the_node_it_was_enrolled_as(enrolment: Path, state: Path) -> None:
    joined = join(enrolment, state, now=MADE)
    trust = NodeTrust.open(state)
    assert (joined.id, joined.name, joined.renewed) == (trust.own_id, "kiosk-01", False)
    assert set(contents(state)) == {
        "node/node_key", "node/node_key.pub", "node/host-cert.pub", "node/user-cert.pub", "node/node.record",
        "trust/root", "trust/allowed_signers", "trust/revocation", "trust/floors.a", "trust/floors.b",
    }  # fmt: skip
    assert trust.warnings == ()


def test_a_dry_run_leaves_the_host_alone(enrolment: Path, state: Path) -> None:
    assert join(enrolment, state, dry_run=True, now=MADE).name == "kiosk-01"
    assert not state.exists()


def test_a_key_made_here_fits_its_enrolment(folder: Path, state: Path, tmp_path: Path) -> None:
    made = make_key(state)
    enroll(folder, "kiosk-01", {}, tmp_path / "enrolment", key=made.public, now=MADE)
    assert join(tmp_path / "enrolment", state, now=MADE).id == made.id
    assert join(tmp_path / "enrolment", tmp_path / "other", state / "node" / "node_key", now=MADE).id == made.id
    with pytest.raises(NotFound, match="holds no private key"):
        join(tmp_path / "enrolment", tmp_path / "third", now=MADE)
    make_key(tmp_path / "fourth")
    with pytest.raises(Untrusted, match="but the certificates are for node"):
        join(tmp_path / "enrolment", tmp_path / "fourth", now=MADE)


@pytest.mark.parametrize(
    "name", ["node_key", "host-cert.pub", "user-cert.pub", "node.record", "root", "allowed_signers", "revocation"]
)
def test_an_enrolment_that_was_cut_or_changed_changes_nothing(enrolment: Path, state: Path, name: str) -> None:
    path = enrolment / name
    kept = path.read_bytes()
    for broken in (kept[: len(kept) // 2], kept[:40] + bytes([kept[40] ^ 0x20]) + kept[41:], b"", None):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
            path.chmod(0o600)
        if name == "allowed_signers" and broken == b"":
            path.write_bytes(kept)
            continue  # a node that allows nobody is allowed
        with pytest.raises((Untrusted, Corrupt, NotFound)):
            join(enrolment, state, now=MADE)
        assert not state.exists()
        path.write_bytes(kept)
        path.chmod(0o600)
    join(enrolment, state, now=MADE)


def test_an_enrolment_of_mixed_fleets_is_refused(enrolment: Path, state: Path, tmp_path: Path) -> None:
    init_fleet(tmp_path / "other", now=MADE)
    enroll(tmp_path / "other", "kiosk-01", {}, tmp_path / "foreign", now=MADE)
    for name in ("root", "host-cert.pub", "user-cert.pub", "node.record", "revocation", "allowed_signers"):
        kept = (enrolment / name).read_bytes()
        (enrolment / name).write_bytes((tmp_path / "foreign" / name).read_bytes())
        with pytest.raises(Untrusted):
            join(enrolment, state, now=MADE)
        (enrolment / name).write_bytes(kept)
    assert not state.exists()


def test_a_node_of_one_fleet_is_not_taken_into_another_by_mistake(enrolment: Path, state: Path, tmp_path: Path) -> None:
    join(enrolment, state, now=MADE)
    NodeTrust.open(state)
    before = contents(state)
    init_fleet(tmp_path / "other", now=MADE)
    enroll(tmp_path / "other", "gate-1", {}, tmp_path / "foreign", now=MADE)
    with pytest.raises(Refused, match="is node kiosk-01 of fleet") as caught:
        join(tmp_path / "foreign", state, now=MADE)
    assert caught.value.hint == "dfedge join DIR --force"
    assert contents(state) == before
    assert not join(tmp_path / "foreign", state, force=True, now=MADE).renewed
    trust = NodeTrust.open(state)
    assert trust.own.name == "gate-1"
    assert trust.warnings == ()


def test_another_nodes_enrolment_is_not_joined_by_mistake(
    enrolment: Path, folder: Path, state: Path, tmp_path: Path
) -> None:
    join(enrolment, state, now=MADE)
    enroll(folder, "kiosk-02", {}, tmp_path / "second", now=MADE)
    with pytest.raises(Refused, match="is node kiosk-01, the enrolment is of kiosk-02"):
        join(tmp_path / "second", state, now=MADE)
    revoke(folder, "kiosk-01", now=MADE)
    enroll(folder, "kiosk-01", {}, tmp_path / "anew", now=MADE)
    join(tmp_path / "anew", state, now=MADE)  # its old identity is revoked, nothing is lost


def test_joining_again_renews_and_lowers_nothing(enrolment: Path, folder: Path, state: Path, tmp_path: Path) -> None:
    join(enrolment, state, now=MADE)
    enroll(folder, "kiosk-02", {}, tmp_path / "second", now=MADE)
    renewal = tmp_path / "renewal"
    enroll(folder, "kiosk-01", {}, renewal, key=enrolment / "node_key.pub", now=MADE + DAY)
    trust = NodeTrust.open(state)
    assert trust.accept_revocation(revoke(folder, "kiosk-02", now=MADE).signed)
    joined = join(renewal, state, now=MADE + DAY)  # the renewal holds the empty list from before
    assert joined.renewed
    assert joined.serial == 2
    again = NodeTrust.open(state)
    assert again.revocation == trust.revocation
    assert again.own.serial == 2
    assert again.warnings == ()
    with pytest.raises(Refused, match="has serial 2, the enrolment is 1"):
        join(enrolment, state, now=MADE)


def test_a_newer_root_stays_when_an_older_enrolment_is_joined(
    enrolment: Path, folder: Path, state: Path, tmp_path: Path
) -> None:
    with (folder / "allowed_signers").open("a") as out:
        out.write(f'bea namespaces="dfedge-manifest@v1" {public_line(new_key("bea"))}\n')
    enroll(folder, "kiosk-01", {}, tmp_path / "newer", key=enrolment / "node_key.pub", now=MADE)
    key = enrolment / "node_key"
    join(tmp_path / "newer", state, key, now=MADE)
    join(enrolment, state, force=True, now=MADE)
    assert (state / "trust" / "root").read_bytes() == (folder / "root").read_bytes()
    assert "bea" in (state / "trust" / "allowed_signers").read_text()


def test_a_revoked_enrolment_is_refused(enrolment: Path, folder: Path, state: Path) -> None:
    revoke(folder, "kiosk-01", now=MADE)
    (enrolment / "revocation").write_bytes((folder / "revocation").read_bytes())
    with pytest.raises(Refused, match="is revoked"):
        join(enrolment, state, now=MADE)


def test_a_broken_node_is_mended_by_joining_again(enrolment: Path, state: Path) -> None:
    join(enrolment, state, now=MADE)
    (state / "node" / "host-cert.pub").write_bytes(b"")
    (state / "trust" / "root").unlink()
    join(enrolment, state, now=MADE)
    NodeTrust.open(state)


def test_a_folder_that_is_no_enrolment_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not an enrolment folder"):
        join(tmp_path, tmp_path / "state")


_KILLED = """
import os, signal, sys
from pathlib import Path
from dfedge.jobs.join import join
steps = int(sys.argv[3])
def trace(event, args):
    global steps
    if event in ("os.rename", "open", "os.remove", "os.rmdir", "os.mkdir"):
        if event != "open" or "state" in str(args[0]):
            steps -= 1
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(trace)
join(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_power_cut_in_the_middle_leaves_the_old_node_or_the_new(
    enrolment: Path, folder: Path, tmp_path: Path
) -> None:
    """Killed at every eighth step on disk, a renewal is wholly there or wholly not."""
    renewal = tmp_path / "renewal"
    enroll(folder, "kiosk-01", {}, renewal, key=enrolment / "node_key.pub", now=MADE + DAY)
    (renewal / "node_key").write_bytes((enrolment / "node_key").read_bytes())
    (renewal / "node_key").chmod(0o600)
    serials = []
    for step in range(1, 200, 8):
        state = tmp_path / f"state-{step}"
        join(enrolment, state, now=MADE)
        killed = subprocess.run([sys.executable, "-c", _KILLED, renewal, state, str(step)], check=False)
        assert killed.returncode in (0, -signal.SIGKILL)
        serials.append(NodeTrust.open(state).own.serial)
        if killed.returncode == 0:
            break
        assert join(renewal, state, now=MADE).serial == 2
        assert NodeTrust.open(state).own.serial == 2
        assert {path.name for path in state.iterdir()} == {"node", "trust"}
    else:
        pytest.fail("it never came to its end")
    assert serials == sorted(serials)
    assert serials[0] == 1 and serials[-1] == 2


def test_the_state_dir_must_be_ours_to_write(enrolment: Path, state: Path) -> None:
    state.write_text("a file")
    with pytest.raises(DfedgeError):
        join(enrolment, state, now=MADE)
    state.unlink()
    state.mkdir()
    os.chmod(state, 0o777)
    with pytest.raises(Refused, match="others may write in it"):
        join(enrolment, state, now=MADE)


def test_a_node_that_has_heard_it_is_revoked_does_not_join_again_with_an_older_enrolment(
    enrolment: Path, folder: Path, state: Path
) -> None:
    join(enrolment, state, now=MADE)
    revoke(folder, "kiosk-01", now=MADE)
    (state / "trust" / "revocation").write_bytes((folder / "revocation").read_bytes())
    for force in (False, True):
        with pytest.raises(Refused, match="is revoked"):
            join(enrolment, state, force=force, now=MADE)
