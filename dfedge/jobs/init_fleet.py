"""Makes a fleet: the operator's folder with a CA key, a signing key and an empty revocation list.

The keys have no passphrase, so that enrolling can be scripted; the folder is for its owner alone. `ssh-keygen -p -f
FOLDER/signer` gives the signing key one, which publishing then asks for.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from dfedge.core.errors import Refused, UsageError
from dfedge.trust import file
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import ALLOWED, REVOCATION, ROOT
from dfedge.trust.fleetfolder import CA, NODES, SIGNER
from dfedge.trust.identity import fleet_of_raw_key
from dfedge.trust.key import fingerprint, make_key, private_file, public_file, raw_public
from dfedge.trust.revocation import Revocation
from dfedge.trust.root import Root, signer_rows
from dfedge.trust.signature import Namespace
from dfedge.trust.signers import AllowedSigners, Signer


@dataclass(frozen=True, slots=True)
class FleetInfo:
    """A fleet that was made, or would be."""

    folder: Path
    fleet: str
    name: str
    ca: str  # SHA256:…
    signer: str  # SHA256:…


def init_fleet(folder: Path, name: str | None = None, *, dry_run: bool = False, now: int | None = None) -> FleetInfo:
    """Make the folder, whole or not at all. Raises Refused if something is there; NoSpace; UsageError for the name."""
    _check_free(folder)
    made = wall_time() if now is None else now
    label = name or ""
    ca, signer = make_key(f"{label} CA".strip()), make_key(f"{label} signer".strip())
    fleet = fleet_of_raw_key(raw_public(ca))
    spaces = (Namespace.MANIFEST.value, Namespace.RELEASE.value)
    allowed = AllowedSigners((Signer("signer", signer, spaces),), str(folder / ALLOWED))
    try:
        thresholds = tuple((space, 1) for space in spaces)
        root = Root(fleet, label, 1, made, (raw_public(ca),), signer_rows(allowed), thresholds)
    except ValueError as error:
        raise UsageError(f"fleet name {label[:70]!r}: {error}") from error
    info = FleetInfo(folder, fleet, label, fingerprint(ca), fingerprint(signer))
    if dry_run:
        return info
    files = {
        CA: (private_file(ca), file.PRIVATE),
        f"{CA}.pub": (public_file(ca, f"dfedge CA {fleet}"), file.PUBLIC),
        SIGNER: (private_file(signer), file.PRIVATE),
        f"{SIGNER}.pub": (public_file(signer, f"dfedge signer {fleet}"), file.PUBLIC),
        ROOT: (root.seal(ca), file.PUBLIC),
        ALLOWED: (allowed.text().encode(), file.PUBLIC),
        REVOCATION: (Revocation(fleet, 0, made, frozenset()).seal(ca), file.PUBLIC),
    }
    _build(folder, files)
    return info


def _check_free(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Refused(f"{folder}: exists and is not a folder")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            what = "a fleet" if (folder / ROOT).exists() else "something else"
            raise Refused(f"{folder}: already holds {what}", "dfedge fleet init OTHER_DIR")
    except OSError as error:
        raise file.told(error, folder) from error


def _build(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Build beside, then rename: there is never half a fleet."""
    beside = folder.with_name(f".{folder.name}.{token_hex(6)}")
    file.make_folder(beside)
    try:
        file.make_folder(beside / NODES)
        for name, (data, mode) in files.items():
            file.write(beside / name, data, mode)
        try:
            beside.rename(folder)  # takes the place of an empty folder
            file.sync_folder(folder.parent)
        except OSError as error:
            raise file.told(error, folder) from error
    finally:
        if beside.exists():
            shutil.rmtree(beside, ignore_errors=True)
