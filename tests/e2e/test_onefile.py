"""dfedge.pyz as it is handed out: built twice, run here, and run on Arm under emulation."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import lab
import pytest
from container import debian_mirror
from fleet import Fleet, until

ROOT: Final = Path(__file__).parents[2]
MAX_BYTES: Final = 12_000_000
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for all of these."""
    return _built(tmp_path_factory.mktemp("built") / "dfedge.pyz")


def _built(output: Path, *words: str) -> Path:
    missing = [tool for tool in ("aarch64-linux-gnu-strip", "arm-linux-gnueabihf-gcc") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([ROOT / "scripts/build-zipapp", *words, "-o", output], env=environ, check=True)
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


def test_the_file_for_musl_needs_no_other_c_library_and_says_so_where_there_is_one(tmp_path: Path) -> None:
    file = _built(tmp_path / "dfedge-musl.pyz", "--musl")
    assert file.stat().st_size <= MAX_BYTES
    with zipfile.ZipFile(file) as archive:
        members = [name for name in archive.namelist() if name.startswith("native/")]
        for member in members:
            with tarfile.open(fileobj=io.BytesIO(archive.read(member))) as tar:
                tar.extractall(tmp_path / Path(member).stem, filter="data")
    assert [Path(member).name for member in members] == ["aarch64-musl.tar.xz", "x86_64-musl.tar.xz"]
    for machine in ("aarch64", "x86_64"):
        modules = [path for path in (tmp_path / f"{machine}-musl.tar").rglob("*") if path.is_file()]
        told = subprocess.run(["readelf", "-d", *modules], capture_output=True, text=True, check=True).stdout
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", told))
        assert needed - {path.name for path in modules} == {f"libc.musl-{machine}.so.1"}
    ran = subprocess.run(["/usr/bin/python3", "-I", file, "selftest"], capture_output=True, text=True, check=False)
    assert ran.stderr.startswith("dfedge: this system's C library is glibc, this file is for musl [refused]")


def _arm_root(root: Path, pyz: Path, architecture: str, emulator: str, suite: str = "bookworm") -> None:
    """A Debian of another machine that can be entered here, with the file in it."""
    qemu = shutil.which(emulator)
    if qemu is None or shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip(f"needs root, mmdebstrap and {emulator}")
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", f"--architectures={architecture}", "--variant=extract",
         "--include=base-files,python3", "--aptopt=APT::Install-Recommends \"false\"",
         "--aptopt=Acquire::Check-Valid-Until \"false\"",  # testing's is out of date a week after a mirror was made
         suite, root, debian_mirror()],
        check=True,
    )  # fmt: skip
    for folder in ("tmp", "root", "dev"):
        (root / folder).mkdir(exist_ok=True)
    shutil.copy(qemu, root / "qemu")
    shutil.copy(pyz, root / "dfedge.pyz")
    for name, minor in (("null", 3), ("urandom", 9)):
        if not (root / "dev" / name).exists():
            os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))


def _in_root(root: Path, *words: str) -> list[str]:
    (root / "proc").mkdir(exist_ok=True)
    inside = 'mount -t proc proc "$0/proc" && exec /usr/sbin/chroot "$0" /qemu /usr/bin/python3 -I /dfedge.pyz "$@"'
    return ["unshare", "--mount", "sh", "-c", inside, str(root), *words]


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "forky"])  # Python 3.11, 3.13 and 3.14
@pytest.mark.parametrize(("architecture", "emulator"), [("arm64", "qemu-aarch64-static"), ("armhf", "qemu-arm-static")])
def test_it_works_on_arm(pyz: Path, tmp_path: Path, architecture: str, emulator: str, suite: str) -> None:
    root = tmp_path / "root"
    _arm_root(root, pyz, architecture, emulator, suite)
    environ = {"HOME": "/root", "USER": "root"} | ({"QEMU_CPU": "cortex-a53"} if architecture == "arm64" else {})
    for words in ("--version", "selftest"):
        ran = subprocess.run(_in_root(root, words), env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.netns
def test_an_arm_board_and_a_pc_fetch_from_each_other(pyz: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    _arm_root(root, pyz, "arm64", "qemu-aarch64-static")
    with lab.Lan("arm", 2) as lan:
        fleet = Fleet(tmp_path, lan)
        pc, arm = fleet.board("pc"), fleet.board("arm", root / "state")
        environ = {
            "HOME": "/root", "USER": "root", "QEMU_CPU": "cortex-a53", "DFEDGE_STATE_DIR": "/state",
            "DFEDGE_DISCOVERY_MDNS": "false", "DFEDGE_DISCOVERY_PEERS": f"{lan.address(0)}:{pc.port}",
            "DFEDGE_THROTTLE_PROFILE": "full", "DFEDGE_STORE_KEEP_FREE": "1 MiB",
        }  # fmt: skip

        def there(*words: str) -> dict[str, Any]:
            ran = lan.run(1, _in_root(root, *words, "--json"), environ, timeout=300)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            document: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
            return document

        shutil.copytree(fleet.operator, root / "fleet", dirs_exist_ok=True)
        environ["DFEDGE_FLEET"] = "/fleet"
        with (tmp_path / "arm.log").open("w") as log:
            agent = lan.popen(1, _in_root(root, "-v", "agent"), environ, stdout=log, stderr=log)
        try:
            pc.start()
            until(lambda: arm.name in pc.connected(), "the two to be connected", 120)
            data = {name: os.urandom(8 * 1024 * 1024) for name in ("down", "up")}
            (tmp_path / "down").write_bytes(data["down"])
            pc.ask("publish", str(tmp_path / "down"), "--name", "down", "--version", "1")
            there("get", "down:1", "-o", "/down")
            assert (root / "down").read_bytes() == data["down"]
            (root / "up").write_bytes(data["up"])
            there("publish", "/up", "--name", "up", "--version", "1")
            pc.ask("get", "up:1", "-o", str(tmp_path / "up"), timeout=300)
            assert (tmp_path / "up").read_bytes() == data["up"]
        finally:
            agent.terminate()
            agent.wait(60)
            fleet.stop()
