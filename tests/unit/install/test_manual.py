"""The man page and the completions come and go with the service."""

import sys
import zipfile
from pathlib import Path

from host import FakeSystem

from dfedge.install.install import install, update
from dfedge.install.manual import FILES, INSIDE
from dfedge.install.place import Place
from dfedge.install.trial import Judge
from dfedge.install.uninstall import uninstall

from .conftest import Make


def _with_texts(pyz: Path, words: str) -> Path:
    with zipfile.ZipFile(pyz, "a") as archive:
        for name in FILES:
            archive.writestr(zipfile.ZipInfo(INSIDE + name), f"{words} {name}")
    return pyz


def _read(place: Place) -> set[str]:
    return {(place.prefix / "share" / name).read_text() for name in FILES}


def test_the_manual_is_that_of_the_version_that_runs_and_goes_with_it(
    place: Place, judge: Judge, system: FakeSystem, pyz: Make
) -> None:
    python = Path(sys.executable)
    first, second = _with_texts(pyz("1.0"), "first"), _with_texts(pyz("2.0"), "second")
    assert "write the man page and the completions" in install(place, first, python, judge).steps
    assert _read(place) == {f"first {name}" for name in FILES}
    assert not [step for step in install(place, first, python, judge).steps if "man page" in step]
    update(place, second, judge, python=python)
    assert _read(place) == {f"second {name}" for name in FILES}
    uninstall(place, system, purge=False, dry_run=False)
    assert not [name for name in FILES if (place.prefix / "share" / name).exists()]
