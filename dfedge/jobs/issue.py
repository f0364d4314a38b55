"""Issues a node whose public key came over SSH: under which name, whether it is needed, and the files to carry."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, Refused
from dfedge.jobs.deployment import Order
from dfedge.jobs.enroll import enroll
from dfedge.jobs.reach import Reach, remember
from dfedge.trust import file
from dfedge.trust.certificate import DAY
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import ALLOWED, HOST_CERT, RECORD, REVOCATION, ROOT, USER_CERT
from dfedge.trust.fleetfolder import NODES, FleetFolder
from dfedge.trust.key import load_public, node_id
from dfedge.trust.record import NodeRecord

ENROLMENT: Final = (HOST_CERT, USER_CERT, RECORD, ROOT, ALLOWED, REVOCATION)
SOON: Final = 30 * DAY  # before the end of its certificates a node gets new ones by the way


def held_record(order: Order, reach: Reach, node: str) -> NodeRecord | None:
    """The operator's record of that key, under whatever name. Raises Refused if it is revoked."""
    fleet = FleetFolder.open(order.fleet)
    if node in fleet.revocation.nodes:
        to = reach.destination
        raise Refused(f"{to}: its node key is revoked ({node}); remove it there first", to.ssh)
    records = (fleet.record(name) for name in fleet.names())
    return next((record for record in records if record and record.id == node), None)


def name_of(order: Order, reach: Reach, held: NodeRecord | None, nodename: str) -> str:
    """What the node is called: as it was said, else as before, else by its host. Raises Refused."""
    to = reach.destination
    wanted = to.name or (held.name if held else "")
    if order.renew and (held is None or held.name != wanted):
        what = held.name if held else "a node that this fleet did not enrol"
        raise Refused(f"{to}: is {what}, not {wanted}", f"dfedge fleet deploy {wanted}={to}")
    try:
        name = wanted or to.suggested_name(nodename)
    except ValueError as error:
        raise Refused(f"{to}: {error}; say how it is called", f"dfedge fleet deploy NAME={to}") from error
    fleet = FleetFolder.open(order.fleet)
    other = fleet.record(name)
    if other and other.id not in fleet.revocation.nodes and (held is None or held.id != other.id):
        raise Refused(
            f"{to}: {name} is already enrolled with another key ({other.id[:12]}); if that is another host give this "
            f"one a name of its own, if this one was wiped: dfedge fleet revoke {name}",
            f"dfedge fleet deploy NAME={to}",
        )
    return name


def stands(order: Order, held: NodeRecord | None, labels: Mapping[str, str], there: bytes) -> bool:
    """Whether what the node has is what the operator issued last, and lasts."""
    if held is None or order.renew or labels != dict(held.labels):
        return False
    if there != file.read_if_there(order.fleet / NODES / held.name / RECORD):
        return False
    return held.ends - wall_time() > min(SOON, (held.ends - held.issued) // 3)


def issue(
    order: Order, reach: Reach, name: str, labels: Mapping[str, str], node: str, public: bytes
) -> tuple[dict[str, bytes], int]:
    """Issue it; returns the files to carry, and when they end. Raises what `enroll` raises, and Corrupt."""
    with tempfile.TemporaryDirectory(prefix="dfedge-deploy-") as temporary:
        out, key = Path(temporary) / name, Path(temporary) / "node_key.pub"
        file.write(key, public)
        if node_id(load_public(key)) != node:
            raise Corrupt(f"{reach.destination}: the public key there is not that of node {node[:12]}")
        ends = enroll(order.fleet, name, labels, out, key, order.days).ends
        remember(order.fleet, name, reach)
        return {part: file.read(out / part) for part in ENROLMENT}, ends
