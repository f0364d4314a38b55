"""dfedge service, as an operator sees it, in the folder of an image."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """It passes for a dfedge.pyz."""
    path = tmp_path / "dfedge.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("build", "version 9.9\n")
        archive.writestr("__main__.py", "print('ok')")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "image").mkdir()
    return tmp_path / "image"


def test_install_status_and_uninstall_of_an_image(dfedge: Any, file: Path, root: Path) -> None:
    words = ("service", "install", "--root", root, "--from", file, "--python", sys.executable)
    assert "would write" in dfedge(*words, "--dry-run").out
    assert not list(root.iterdir())
    assert re.match(r"dfedge 9\.9 \([0-9a-f]{12}\) is installed\n", dfedge(*words).out)
    assert "nothing is missing" in dfedge(*words).out
    document = dfedge("service", "status", "--root", root, "--json").document
    assert document["installed"]["version"] == "9.9"
    assert document["unit"]["enabled"] is True
    assert document["agent"]["healthy"] is False
    assert dfedge("service", "uninstall", "--root", root).code == 0
    ran = dfedge("service", "status", "--root", root)
    assert (ran.code, ran.err.splitlines()[1]) == (1, "  try: dfedge service install")


def test_purge_needs_a_yes(dfedge: Any, file: Path, root: Path) -> None:
    (root / "var/lib/dfedge").mkdir(parents=True)
    ran = dfedge("service", "uninstall", "--root", root, "--purge")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert (root / "var/lib/dfedge").exists()
    assert dfedge("service", "uninstall", "--root", root, "--purge", "--yes").code == 0
    assert not (root / "var/lib/dfedge").exists()


def test_without_a_file_it_says_how_to_name_one(dfedge: Any, root: Path) -> None:
    ran = dfedge("service", "install", "--root", root)
    assert ran.code == 2
    assert "--from FILE" in ran.err


def test_a_wrong_digest_or_reference_is_answered(dfedge: Any, root: Path, file: Path) -> None:
    assert "is not a SHA-256" in dfedge("service", "install", "--sha256", "12").err
    ran = dfedge("service", "install", "--root", root, "--from", file, "--sha256", "0" * 64)
    assert "its SHA-256 is" in ran.err
    assert not (root / "usr/local/bin").exists()


def test_systemd_finds_nothing_wrong_with_the_unit_and_little_that_it_may_do(dfedge: Any, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "dfedge.service"
    unit.write_text(dfedge("service", "install", "--print-unit").out)
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_unit_is_printed_by_the_command_alone_too(dfedge: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        dfedge("service", "--print-unit")
    assert left.value.code == 0
    assert "ExecStart=/usr/bin/python3 -I /usr/local/lib/dfedge/current/dfedge.pyz agent" in capsys.readouterr().out
