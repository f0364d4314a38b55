"""dfedge.pyz as it is handed out: built twice, run here, and run on Arm under emulation."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAX_BYTES: Final = 12_000_000
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for all of these."""
    return _built(tmp_path_factory.mktemp("built") / "dfedge.pyz")


def _built(output: Path) -> Path:
    missing = [tool for tool in ("aarch64-linux-gnu-strip", "arm-linux-gnueabihf-gcc") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([ROOT / "scripts/build-zipapp", "-o", output], env=environ, check=True)
    return output


def test_two_builds_are_the_same_bytes_and_small_enough(pyz: Path, tmp_path: Path) -> None:
    assert _built(tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()
    assert pyz.stat().st_size <= MAX_BYTES


def test_it_works_here(pyz: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python is not None
    environ = {"DFEDGE_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    ran = subprocess.run([python, "-I", pyz, "selftest"], env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("architecture", "emulator"), [("arm64", "qemu-aarch64-static"), ("armhf", "qemu-arm-static")])
def test_it_works_on_arm(pyz: Path, tmp_path: Path, architecture: str, emulator: str) -> None:
    qemu = shutil.which(emulator)
    if qemu is None or shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip(f"needs root, mmdebstrap and {emulator}")
    root = tmp_path / "root"
    sources = Path("/etc/apt/sources.list.d/debian.sources").read_text(encoding="utf-8")
    mirror = next(line.split()[1] for line in sources.splitlines() if line.startswith("URIs:"))
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", f"--architectures={architecture}", "--variant=extract",
         "--include=base-files,python3", "--aptopt=APT::Install-Recommends \"false\"", "bookworm", root, mirror],
        check=True,
    )  # fmt: skip
    for folder in ("tmp", "root", "dev"):
        (root / folder).mkdir(exist_ok=True)
    shutil.copy(qemu, root / "qemu")
    shutil.copy(pyz, root / "dfedge.pyz")
    for name, minor in (("null", 3), ("urandom", 9)):
        if not (root / "dev" / name).exists():
            os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))
    environ = {"HOME": "/root", "USER": "root"} | ({"QEMU_CPU": "cortex-a53"} if architecture == "arm64" else {})
    for words in (["--version"], ["selftest"]):
        command: list[str | Path] = ["/usr/sbin/chroot", root, "/qemu", "/usr/bin/python3", "-I", "/dfedge.pyz", *words]
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
