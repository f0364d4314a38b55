"""Chooses the nodes that need new certificates, and issues them where no SSH leads."""

from collections.abc import Sequence
from pathlib import Path

from dfedge.core.errors import NotFound, Refused
from dfedge.jobs.destination import Destination
from dfedge.jobs.enroll import EnrolledNode, enroll, list_nodes
from dfedge.jobs.reach import Reach, recall
from dfedge.trust import file
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import NODE_KEY_PUB
from dfedge.trust.fleetfolder import NODES

Chosen = tuple[EnrolledNode, Reach | None]


def choose(fleet: Path, names: Sequence[str], before: float | None) -> list[Chosen]:
    """The nodes of these names, or all whose certificates end within `before` seconds, each with where it is.

    Revoked ones are left out, or Refused where they were named. Raises NotFound, Untrusted, Corrupt.
    """
    nodes = {node.name: node for node in list_nodes(fleet)}
    for name in names:
        if name not in nodes:
            raise NotFound(f"{name}: no such node was enrolled", "dfedge fleet list")
        if nodes[name].revoked:
            raise Refused(f"{name}: is revoked", f"dfedge fleet enroll {name} --out DIR")
    if before is None:
        wanted = [nodes[name] for name in dict.fromkeys(names)]
    else:
        until = wall_time() + before
        wanted = [node for node in nodes.values() if not node.revoked and node.ends < until]
    return [(node, _named(recall(fleet, node.name), node.name)) for node in wanted]


def carry(
    fleet: Path, chosen: Sequence[Chosen], out: Path, days: int, *, dry_run: bool = False
) -> list[tuple[EnrolledNode, Path]]:
    """Write an enrolment folder for each under `out`, by the public key that the fleet's folder has."""
    if not dry_run:
        file.make_folder(out)
    issued = []
    for node, _ in chosen:
        key = fleet / NODES / node.name / NODE_KEY_PUB
        place = out / node.name
        issued.append((enroll(fleet, node.name, dict(node.labels), place, key, days, dry_run=dry_run), place))
    return issued


def _named(reach: Reach | None, name: str) -> Reach | None:
    """A renewal is for that very node: its name is asked for."""
    if reach is None:
        return None
    to = reach.destination
    return Reach(Destination(to.host, to.user, to.port, name), reach.become)
