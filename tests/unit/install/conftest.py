"""A host in a folder, and files that pass for a dfedge.pyz."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from host import FakeSystem

from dfedge.install.place import Place
from dfedge.install.trial import Judge

Make = Callable[..., Path]


@pytest.fixture
def pyz(tmp_path: Path) -> Make:
    """Make a file that says its version and does in `selftest` what it is told."""

    def make(number: str, selftest: str = "print('ok')") -> Path:
        path = tmp_path / f"dfedge-{number}.pyz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo("build"), f"version {number}\n")
            main = zipfile.ZipInfo("__main__.py")
            archive.writestr(main, f"import sys, time\nif sys.argv[1:] == ['selftest']:\n    {selftest}\n")
        return path

    return make


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty system."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "var/lib/dfedge/node").mkdir(parents=True)
    return Place.of_system(root)


@pytest.fixture
def system(place: Place) -> FakeSystem:
    return FakeSystem(place)


@pytest.fixture
def judge(system: FakeSystem) -> Judge:
    return Judge(system, system.probe, within_s=0.2, steady_s=0.0, poll_s=0.01)
