"""dfedge service, as an operator sees it, in the folder of an image."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dfedge.install.place import Place
from dfedge.node.control import Call
from dfedge.node.controlframe import Document


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
    assert document["hooks"] is False
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


def test_an_update_takes_the_bytes_of_an_image_from_the_agent(
    dfedge: Any, agent: Any, file: Path, root: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dfedge("service", "install", "--root", root, "--from", file, "--python", sys.executable)
    place = dataclasses.replace(Place.of_system(root), runtime=state_dir / "run")
    monkeypatch.setattr("dfedge.cli.serviceupdate.place_of", lambda _: place)
    new = file.with_name("new.pyz")
    with zipfile.ZipFile(new, "w") as archive:
        archive.writestr("build", "version 10.0\n")
        archive.writestr("__main__.py", "print('ok')")
    files = [{"path": "dfedge.pyz", "size": new.stat().st_size, "mode": 0o755}]

    async def get(params: Document, call: Call) -> Document:
        several = params["ref"] == "several:1"
        return {"image": "sha256:" + "9f" * 32, "name": "dfedge", "version": "10", "files": files * (1 + several)}

    async def output(params: Document, call: Call) -> Document:
        fd = call.take_fd(0)
        os.write(fd, new.read_bytes())
        os.close(fd)
        return {}

    agent({"get": get, "output": output})
    assert "not an image of one file" in dfedge("service", "update", "several:1").err
    ran = dfedge("service", "update", "dfedge:10")
    assert ran.out.startswith("dfedge 10.0 ("), ran
    assert "nothing judged it beyond its selftest" in ran.err
    document = dfedge("service", "status", "--root", root, "--json").document
    assert (document["installed"]["version"], document["previous"]["version"]) == ("10.0", "9.9")


def test_systemd_finds_nothing_wrong_with_the_units_of_hooks(dfedge: Any, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("no systemd-analyze")
    printed = dfedge("service", "install", "--hooks", "--print-unit").out
    _, *units = re.split(r"^# /etc/systemd/system/(\S+)$", printed, flags=re.MULTILINE)
    files = dict(zip(units[::2], units[1::2], strict=True))
    assert list(files) == ["dfedge-hook.socket", "dfedge-hook@.service"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command: list[str | Path] = ["systemd-analyze", "verify", *(tmp_path / name for name in files)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_a_user_without_root_has_no_hooks_as_root(dfedge: Any, file: Path) -> None:
    ran = dfedge("service", "install", "--user", "--hooks", "--from", file)
    assert ran.code == 2
    assert "--user has no root" in ran.err


def test_a_hook_runs_only_for_an_image_that_is_whole(
    dfedge: Any, agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "hook_socket", tmp_path / "none")

    async def ls(params: Document, call: Call) -> Document:
        rows = [("os", True), ("half", False)]
        image = "sha256:" + "9f" * 32
        return {"images": [{"image": image, "name": name, "version": "2", "complete": whole} for name, whole in rows]}

    agent({"ls": ls})
    half = dfedge("service", "hook", "install", "half:2")
    assert (half.code, half.err.splitlines()[1]) == (1, "  try: dfedge get half:2")
    assert dfedge("service", "hook", "install", "os:2", "--dry-run").out == "would run the hook install for os:2\n"
    none = dfedge("service", "hook", "install", "os:2")
    assert (none.code, none.err.splitlines()[1]) == (1, "  try: sudo dfedge service install --hooks")
    assert dfedge("service", "hook", "deinstall", "os:2").code == 2
