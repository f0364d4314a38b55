"""Where the operator reached a node over SSH, kept beside its record, so that a renewal finds it again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt
from dfedge.jobs.destination import Destination
from dfedge.trust import file
from dfedge.trust.fleetfolder import NODES

FILE: Final = "ssh"
BECOME: Final = ("sudo",)


@dataclass(frozen=True, slots=True)
class Reach:
    """How to log in to a node, and what makes root of that user there (empty: nothing)."""

    destination: Destination
    become: str = ""


def remember(fleet: Path, name: str, reach: Reach) -> None:
    """Keep it for that node. Raises NoSpace, Refused."""
    document = {"destination": str(reach.destination), "become": reach.become}
    file.write(fleet / NODES / name / FILE, json.dumps(document).encode() + b"\n", file.PRIVATE)


def recall(fleet: Path, name: str) -> Reach | None:
    """What was kept; None for a node that was never deployed. Raises Corrupt."""
    path = fleet / NODES / name / FILE
    data = file.read_if_there(path)
    if data is None:
        return None
    try:
        document = json.loads(data)
        become = document["become"]
        if become not in ("", *BECOME):
            raise ValueError(f'become is "{become}"')
        return Reach(Destination.parse(document["destination"]), become)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{path}: does not say where the node is ({error})", f"rm {path}") from error
