"""Makes this host a node of a fleet: verifies an enrolment, then puts it into the state dir, all or nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import DfedgeError, NotFound, Refused
from dfedge.core.seams import NodeId
from dfedge.trust import file
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import (
    ALLOWED,
    NODE_FILES,
    NODE_KEY,
    NODE_KEY_PUB,
    RECORD,
    REVOCATION,
    ROOT,
    TRUST_FILES,
    Credentials,
    check_credentials,
    read_allowed,
    read_files,
)
from dfedge.trust.floor import Floors, root_floor
from dfedge.trust.install import NODE, TRUST, finish, install
from dfedge.trust.key import fingerprint, load_private, node_id, private_file, public_file
from dfedge.trust.key import make_key as new_key
from dfedge.trust.record import NodeRecord, open_record
from dfedge.trust.revocation import Revocation, open_revocation
from dfedge.trust.root import Root, open_root

FORCE: Final = "dfedge join DIR --force"


@dataclass(frozen=True, slots=True)
class Joined:
    """What this host is now, or would be."""

    id: NodeId
    name: str
    labels: tuple[tuple[str, str], ...]
    fleet: str
    fleet_name: str
    serial: int
    ends: int  # seconds since 1970
    renewed: bool  # it was this node of this fleet before
    state_dir: Path


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was made on its node and never leaves it; the public file goes to the operator."""

    id: NodeId
    fingerprint: str
    public: Path
    made: bool  # false: there was one already, and it stays


@dataclass(frozen=True, slots=True)
class _Held:
    """What the state dir says this host is; its certificates may have ended, for then people join again."""

    root: Root
    record: NodeRecord
    revocation: Revocation
    files: dict[str, bytes]


def join(
    folder: Path,
    state_dir: Path,
    key: Path | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    now: int | None = None,
) -> Joined:
    """Verify the enrolment in `folder` and install it.

    The private key is the one in `folder`, else `key`, else the one at STATE/node/node_key. Joining again renews and
    never lowers a floor. Raises Refused where it would replace another identity without `force`; Untrusted, Corrupt or
    NotFound where the enrolment does not hold; NoSpace.
    """
    if not dry_run:
        finish(state_dir)
    new = _enrolment(folder, _private_key(folder, state_dir, key), float(wall_time() if now is None else now))
    held = _held(state_dir)
    if not force:
        _check_replaces(new, held, state_dir)
    if held is not None and held.root.fleet != new.root.fleet:
        held, renewed = None, False
    else:
        renewed = held is not None and held.record.id == new.node
    if held is not None and new.node in held.revocation.nodes:  # by a newer list than the enrolment's
        raise Refused(f"{folder}: node {new.record.name} is revoked ({new.node})", "dfedge fleet enroll NAME --out DIR")
    if not dry_run:
        install(state_dir, _files(new, held))
    record = new.record
    return Joined(
        new.node,
        record.name,
        record.labels,
        record.fleet,
        new.root.name,
        record.serial,
        record.ends,
        renewed=renewed,
        state_dir=state_dir,
    )


def make_key(state_dir: Path, *, dry_run: bool = False) -> MadeKey:
    """Make this node's key at STATE/node, for `dfedge fleet enroll NAME --key node_key.pub`. An existing one stays.

    Raises Untrusted, Corrupt, Refused or NoSpace.
    """
    private, public = state_dir / NODE / NODE_KEY, state_dir / NODE / NODE_KEY_PUB
    made = not private.exists()
    key = new_key("dfedge node") if made else load_private(private)
    if not dry_run:
        file.make_folder(state_dir)
        file.make_folder(state_dir / NODE)
        if made:
            file.write(private, private_file(key), file.PRIVATE)
        file.write(public, public_file(key, "dfedge node"))
    return MadeKey(node_id(key), fingerprint(key), public, made)


def _private_key(folder: Path, state_dir: Path, key: Path | None) -> Path:
    places = [folder / NODE_KEY, *([key] if key else []), state_dir / NODE / NODE_KEY]
    if key is not None and not key.exists():
        raise NotFound(f"{key}: does not exist")
    for place in places:
        if place.exists():
            return place
    if not (folder / RECORD).exists():
        raise NotFound(f"{folder}: not an enrolment folder, it has no {RECORD}", "dfedge fleet enroll NAME --out DIR")
    raise NotFound(f"{folder}: holds no private key, and neither does {state_dir / NODE}", "dfedge join DIR --key FILE")


def _enrolment(folder: Path, key: Path, now: float) -> Credentials:
    try:
        files = read_files(folder, folder)
    except NotFound as error:
        raise NotFound(f"not a whole enrolment folder: {error}", "dfedge fleet enroll NAME --out DIR") from error
    new = check_credentials(files, key, folder, now)
    if new.node in new.revocation.nodes:
        raise Refused(f"{folder}: node {new.record.name} is revoked ({new.node})", "dfedge fleet enroll NAME --out DIR")
    return new


def _held(state_dir: Path) -> _Held | None:
    """What is there now; None if nothing is, or nothing that can be read: joining is how one mends that."""
    try:
        files = read_files(state_dir / NODE, state_dir / TRUST)
        root = open_root(files[ROOT], str(state_dir / TRUST / ROOT))
        record = open_record(files[RECORD], root)
        revocation = open_revocation(files[REVOCATION], root)
        root.check_signers(read_allowed(files[ALLOWED], str(state_dir / TRUST / ALLOWED)))
    except DfedgeError:
        return None
    return _Held(root, record, revocation, files)


def _check_replaces(new: Credentials, held: _Held | None, state_dir: Path) -> None:
    """Raises Refused where an identity would be lost, or something older would come back."""
    seen = Floors.load(state_dir / TRUST).get(root_floor(new.root.fleet))[1]
    if held is None:
        if new.root.version < seen:
            raise Refused(f"{state_dir}: the enrolment has root {new.root.version}, this node has seen {seen}", FORCE)
        return
    if held.root.fleet != new.root.fleet:
        raise Refused(
            f"{state_dir}: is node {held.record.name} of fleet {held.root.fleet}, the enrolment is of {new.root.fleet}",
            FORCE,
        )
    if held.record.id == new.node:
        if new.record.serial < held.record.serial:
            raise Refused(f"{state_dir}: has serial {held.record.serial}, the enrolment is {new.record.serial}", FORCE)
    elif held.record.id not in new.revocation.nodes | held.revocation.nodes:
        raise Refused(
            f"{state_dir}: is node {held.record.name}, the enrolment is of {new.record.name} with another key", FORCE
        )


def _files(new: Credentials, held: _Held | None) -> dict[tuple[str, str], tuple[bytes, int]]:
    """Everything to install; of root and revocation list the newer, of the same fleet."""
    trust = {name: new.files[name] for name in TRUST_FILES}
    if held is not None and held.root.version > new.root.version:
        trust |= {ROOT: held.files[ROOT], ALLOWED: held.files[ALLOWED]}
    if held is not None and held.revocation.sequence > new.revocation.sequence:
        trust[REVOCATION] = held.files[REVOCATION]
    node = {name: new.files[name] for name in NODE_FILES}
    node[NODE_KEY_PUB] = public_file(new.key, f"dfedge node {new.record.name}")
    return {
        (NODE, NODE_KEY): (private_file(new.key), file.PRIVATE),
        **{(NODE, name): (data, file.PRIVATE) for name, data in node.items()},
        **{(TRUST, name): (data, file.PRIVATE) for name, data in trust.items()},
    }
