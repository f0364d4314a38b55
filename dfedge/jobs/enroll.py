"""Issues a node: certificates, record and what it must trust, in an enrolment folder to be carried to it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Final

from dfedge.core.errors import Refused, UsageError
from dfedge.core.seams import NodeId
from dfedge.trust import file
from dfedge.trust.certificate import DAY, DEFAULT_DAYS, Kind, certificate_file, issue
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import ALLOWED, HOST_CERT, NODE_KEY, NODE_KEY_PUB, RECORD, REVOCATION, ROOT, USER_CERT
from dfedge.trust.fleetfolder import NODES, FleetFolder, locked
from dfedge.trust.identity import check_labels, check_node_name
from dfedge.trust.key import Key, load_public, make_key, node_id, private_file, public_file
from dfedge.trust.record import NodeRecord
from dfedge.trust.root import signer_rows

MAX_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class EnrolledNode:
    """A node of the fleet, as its operator knows it."""

    id: NodeId
    name: str
    labels: tuple[tuple[str, str], ...]
    serial: int
    ends: int  # seconds since 1970
    revoked: bool


def enroll(
    folder: Path,
    name: str,
    labels: Mapping[str, str],
    out: Path,
    key: Path | None = None,
    days: int = DEFAULT_DAYS,
    *,
    dry_run: bool = False,
    now: int | None = None,
) -> EnrolledNode:
    """Issue a node under `name` and write its enrolment folder to `out`, for `days`.

    `key` is the public key of a node that made its own; without it a new key is made and lies in `out`. The same name
    with the same key is a renewal. Raises UsageError, Refused, NotFound, Untrusted, NoSpace or Corrupt.
    """
    pairs = _check(name, labels, days)
    _check_free(out)
    with locked(folder):
        fleet = FleetFolder.open(folder)
        ca = fleet.ca()
        private = None if key else make_key(f"dfedge node {name}")
        public = load_public(key) if key else private
        assert public is not None
        serial = _next_serial(fleet, name, node_id(public), by_file=key is not None)
        issued = max(wall_time() if now is None else now, fleet.root.made)
        ends = issued + days * DAY
        record = NodeRecord(fleet.root.fleet, node_id(public), name, pairs, serial, issued, ends)
        enrolled = EnrolledNode(record.id, name, pairs, serial, ends, revoked=False)
        files = _node_files(fleet, ca, public, record)
        if not dry_run:
            _publish(_with_current_root(fleet, ca), files, private, name, out)
    return enrolled


def list_nodes(folder: Path) -> list[EnrolledNode]:
    """All nodes ever enrolled, by name. Raises NotFound, Untrusted, Corrupt."""
    fleet = FleetFolder.open(folder)
    records = (fleet.record(name) for name in fleet.names())
    return [
        EnrolledNode(r.id, r.name, r.labels, r.serial, r.ends, revoked=r.id in fleet.revocation.nodes)
        for r in records
        if r is not None
    ]


def check_terms(folder: Path, labels: Mapping[str, str], days: int) -> None:
    """Whether nodes can be issued on these terms, before anything is done for it.

    Raises UsageError; NotFound, Untrusted, Refused or Corrupt where the fleet or its CA key does not hold.
    """
    _labels(labels, days)
    FleetFolder.open(folder).ca()


def _labels(labels: Mapping[str, str], days: int) -> tuple[tuple[str, str], ...]:
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"days is {days}, 1 to {MAX_DAYS:,} are allowed")
    try:
        return check_labels(tuple(sorted(labels.items())))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check(name: str, labels: Mapping[str, str], days: int) -> tuple[tuple[str, str], ...]:
    try:
        check_node_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _labels(labels, days)


def _check_free(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise Refused(f"{out}: already exists; an enrolment folder is written whole, into a new place")


def _next_serial(fleet: FleetFolder, name: str, node: NodeId, *, by_file: bool) -> int:
    """The serial of this issue. Raises Refused where name and key do not go together."""
    if node in fleet.revocation.nodes:
        raise Refused(f"{name}: its key is revoked ({node}); make a new one on the node", "dfedge join --make-key")
    if by_file:
        for other in fleet.names():
            held = fleet.record(other)
            if held is not None and held.id == node and other != name:
                raise Refused(f"{name}: that key is already enrolled as {other}; each node has its own")
    held = fleet.record(name)
    if held is None:
        return 1
    if held.id != node and held.id not in fleet.revocation.nodes:
        raise Refused(
            f"{name}: already enrolled with another key ({held.id}); renew it with that node's own node_key.pub, "
            "or revoke it first",
            f"dfedge fleet enroll {name} --key node_key.pub --out DIR",
        )
    return held.serial + 1


def _node_files(fleet: FleetFolder, ca: Key, public: Key, record: NodeRecord) -> dict[str, bytes]:
    starts = fleet.root.made - DAY
    certificates = {
        file_name: certificate_file(
            issue(ca, public, kind, name=record.name, serial=record.serial, starts=starts, ends=record.ends)
        )
        for kind, file_name in ((Kind.HOST, HOST_CERT), (Kind.USER, USER_CERT))
    }
    try:
        sealed = record.seal(ca)
    except ValueError as error:
        raise UsageError(f"{record.name}: {error}") from error
    return {NODE_KEY_PUB: public_file(public, f"dfedge node {record.name}"), **certificates, RECORD: sealed}


def _with_current_root(fleet: FleetFolder, ca: Key) -> FleetFolder:
    """Sign the next version of the root if the operator changed `allowed_signers` since the last."""
    if signer_rows(fleet.allowed) == fleet.root.signers:
        return fleet
    try:
        root = replace(fleet.root, version=fleet.root.version + 1, signers=signer_rows(fleet.allowed))
    except ValueError as error:
        raise Refused(f"{fleet.path / ALLOWED}: {error}") from error
    data = root.seal(ca)
    file.write(fleet.path / ROOT, data)
    return replace(fleet, root=root, root_data=data)


def _publish(fleet: FleetFolder, files: Mapping[str, bytes], private: Key | None, name: str, out: Path) -> None:
    """Write the enrolment beside `out`, note the node, then let `out` appear: no enrolment is unknown to `revoke`."""
    beside = out.with_name(f".{out.name}.{token_hex(6)}")
    file.make_folder(beside)
    try:
        for file_name, data in files.items():
            file.write(beside / file_name, data)
        for file_name, data in (
            (ROOT, fleet.root_data),
            (ALLOWED, fleet.allowed.text().encode()),
            (REVOCATION, fleet.revocation_data),
        ):
            file.write(beside / file_name, data)
        if private is not None:
            file.write(beside / NODE_KEY, private_file(private), file.PRIVATE)
        kept = fleet.path / NODES / name
        file.make_folder(kept)
        for file_name, data in files.items():  # the record comes last: it is what counts
            file.write(kept / file_name, data)
        try:
            beside.rename(out)
            file.sync_folder(out.parent)
        except OSError as error:
            raise file.told(error, out) from error
    finally:
        if beside.exists():
            shutil.rmtree(beside, ignore_errors=True)
