"""A fleet on disk, and nodes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join
from dfedge.trust.fleetfolder import FleetFolder
from dfedge.trust.nodetrust import NodeTrust

MADE = 1_800_000_000  # 2027-01-15: when the fleets of these tests are made
DAY = 86_400


@pytest.fixture(autouse=True)
def _asyncssh_clock() -> Iterator[None]:
    """Opening a node's trust sets asyncssh's clock for the process; the next test starts with the true one."""
    true = vars(asyncssh.public_key)["time"]
    yield
    vars(asyncssh.public_key)["time"] = true


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An operator's folder."""
    init_fleet(tmp_path / "fleet", "Kiosks", now=MADE)
    return tmp_path / "fleet"


@pytest.fixture
def fleet(folder: Path) -> FleetFolder:
    return FleetFolder.open(folder)


@pytest.fixture
def node(folder: Path, tmp_path: Path) -> Callable[[str], NodeTrust]:
    """Enrol a node, join it, and open its trust a day after the fleet was made."""

    def make(name: str) -> NodeTrust:
        enroll(folder, name, {"site": "berlin"}, tmp_path / f"enrolment-{name}", now=MADE)
        join(tmp_path / f"enrolment-{name}", tmp_path / f"state-{name}", now=MADE)
        return NodeTrust.open(tmp_path / f"state-{name}", wall=lambda: float(MADE + DAY))

    return make


@pytest.fixture
def manifest(fleet: FleetFolder) -> bytes:
    """The manifest of an image of this fleet."""
    return an_image(fleet.root.fleet)


def an_image(fleet: str, created: int = MADE) -> bytes:
    entry = FileEntry("boot.img", 5, b"\1" * 32, "", 0o644, ((5, 1),), b"\1" * 32)
    return Manifest(fleet, "gateway/os", "2.4.1", (), created, (entry,)).encode()
