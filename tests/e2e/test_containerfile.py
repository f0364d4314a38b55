"""The Containerfile, built and run by podman: an agent without rights that fetches from an agent beside it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import container
import lab
import pytest
from fleet import Fleet, until

from dfedge.jobs.enroll import enroll

ROOT: Final = Path(__file__).parents[2]
BASE: Final = "debian:bookworm-slim"  # made here: what it stands for can't be fetched everywhere
LIMITS: Final = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")  # podman's own may be over ours
pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.netns, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Podman:
    """podman with a storage of its own, and an image named dfedge."""

    folder: Path

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=600)

    def done(self, *words: object) -> str:
        ran = self.run(*words)
        assert ran.returncode == 0, f"{words}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        return ran.stdout

    def command(self, *words: object) -> list[str]:
        own = ["--root", self.folder / "storage", "--runroot", self.folder / "run", "--runtime", "runc"]
        return ["podman", *map(str, own), "--cgroup-manager", "cgroupfs", *map(str, words)]

    def dfedge(self, namespace: str, *words: object) -> list[object]:
        """What runs a command of dfedge in a new container at a node of the LAN; its state is in a volume."""
        network = ["--network", f"ns:/run/netns/{namespace}"]
        enrolment = ["--volume", f"{self.folder / 'enrolment'}:/enrolment:ro", "--volume", "state:/var/lib/dfedge"]
        return ["run", "--rm", *LIMITS, *network, *enrolment, "dfedge", *words]


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    """Build the image from the Containerfile as it is, on Debian's slim base."""
    if reason := container.unavailable("podman", "runc", "mmdebstrap") or lab.available():
        pytest.skip(reason)
    build: list[str | Path] = [ROOT / "scripts/build-zipapp", "--targets", os.uname().machine]
    subprocess.run(
        [*build, "-o", tmp_path / "dist" / "dfedge.pyz"], check=True, env={**os.environ, "PYTHON": sys.executable}
    )
    base = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "bookworm"]
    subprocess.run([*base, tmp_path / "base.tar", container.debian_mirror()], check=True)
    made = Podman(tmp_path)
    try:
        made.done("import", "--quiet", tmp_path / "base.tar", BASE)
        recipe = ["--tag", "dfedge", "--file", ROOT / "Containerfile"]
        made.done("build", *LIMITS, "--network", "host", "--pull-never", *recipe, tmp_path)
        yield made
    finally:
        made.run("system", "reset", "--force")


def test_a_container_takes_part_in_the_fleet(podman: Podman, tmp_path: Path) -> None:
    with lab.Lan("podman", 2) as lan:
        fleet = Fleet(tmp_path, lan)
        pc = fleet.board("pc")
        place = lan.namespace(1)
        _enrol(fleet, podman.folder / "enrolment")
        podman.done(*podman.dfedge(place, "join", "/enrolment"))
        data = os.urandom(8 * 1024 * 1024)
        (tmp_path / "image").write_bytes(data)
        pc.start().ask("publish", str(tmp_path / "image"), "--name", "image", "--version", "1")
        with (tmp_path / "agent.log").open("w") as log:
            words = podman.dfedge(place, "-v", "agent")
            words.insert(1, "--name=agent")
            agent = subprocess.Popen(podman.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: "boxed" in pc.connected(), "the two to find each other by mDNS", 60)
            podman.done("exec", "agent", "dfedge", "get", "image:1", "-o", "/var/lib/dfedge/image")
            told = podman.done("exec", "agent", "sha256sum", "/var/lib/dfedge/image")
            assert told.split()[0] == hashlib.sha256(data).hexdigest()
            assert podman.done("exec", "agent", "id", "-u").strip() == "7411"
        finally:
            podman.run("stop", "agent")
            agent.wait(60)
            fleet.stop()
        assert "Traceback" not in (tmp_path / "agent.log").read_text()


def _enrol(fleet: Fleet, folder: Path) -> None:
    """An enrolment that the container's user may read."""
    enroll(fleet.operator, "boxed", {}, folder)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 7411, 7411)
