"""Takes a node out of the fleet: signs the next revocation list. Handing it to an agent is the caller's."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dfedge.core.errors import NotFound, Refused
from dfedge.core.seams import NodeId
from dfedge.trust import file
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import REVOCATION
from dfedge.trust.fleetfolder import FleetFolder, locked
from dfedge.trust.revocation import Revocation


@dataclass(frozen=True, slots=True)
class RevocationInfo:
    """The list after a revocation."""

    id: NodeId
    name: str
    fleet: str
    sequence: int
    issued: int  # seconds since 1970
    revoked: int  # nodes on the list
    already: bool  # it was on the list before; nothing changed
    path: Path
    signed: bytes  # the list as it travels


def revoke(folder: Path, name: str, *, dry_run: bool = False, now: int | None = None) -> RevocationInfo:
    """Put the node of that name on the list. Raises NotFound with the nearest names; Refused, Untrusted, NoSpace."""
    with locked(folder):
        fleet = FleetFolder.open(folder)
        names = fleet.names()
        record = fleet.record(name) if name in names else None
        if record is None:
            near = get_close_matches(name, names, n=3)
            hint = "dfedge fleet list"
            known = f"; did you mean {' or '.join(near)}" if near else f", the fleet has {len(names):,} nodes"
            raise NotFound(f"{name}: no node of that name was enrolled{known}", hint)
        held = fleet.revocation
        path = folder / REVOCATION
        if record.id in held.nodes:
            return RevocationInfo(
                record.id,
                name,
                held.fleet,
                held.sequence,
                held.issued,
                len(held.nodes),
                True,
                path,
                fleet.revocation_data,
            )
        issued = max(wall_time() if now is None else now, held.issued)
        try:
            new = Revocation(held.fleet, held.sequence + 1, issued, held.nodes | {record.id})
        except ValueError as error:
            raise Refused(f"{name}: {error}; a new fleet must be made", "dfedge fleet init DIR") from error
        signed = new.seal(fleet.ca())
        if not dry_run:
            file.write(path, signed)
    return RevocationInfo(record.id, name, new.fleet, new.sequence, issued, len(new.nodes), False, path, signed)
