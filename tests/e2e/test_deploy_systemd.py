"""`fleet deploy` to hosts as they are: Debian with its own systemd, sshd and sudo, in containers on the lab's LAN."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import container
import lab
import pytest
from container import Container
from fleet import Board, Fleet, until
from sshd import Operator

ROOT: Final = Path(__file__).parents[2]
REF: Final = "gateway-os:1"
pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.netns, pytest.mark.timeout(1200)]


@dataclass
class Site:
    """The operator at node 0 with an agent, a host that lets root in, and one that lets in a user who may sudo."""

    folder: Path
    desk: Board
    plain: Container
    sudo: Container
    to: list[str]

    @property
    def pyz(self) -> Path:
        return self.folder / "dfedge.pyz"

    def fleet(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.desk.run("fleet", *words, timeout=300)

    def deploy(self, *words: str, file: Path | None = None) -> tuple[dict[str, str], dict[str, Any]]:
        """What was done on the one host, by step; and what became of it."""
        ran = self.fleet("deploy", *words, "--file", str(file or self.pyz), "--json")
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        outcome = lines[-1]["hosts"][0]
        assert (ran.returncode == 0) == ("error" not in outcome), ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return {line["step"]: line["did"] for line in lines if line["type"] == "step"}, outcome


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if reason := container.unavailable() or lab.available():
        pytest.skip(reason)
    build: list[str | Path] = [ROOT / "scripts/build-zipapp", "--targets", os.uname().machine]
    subprocess.run([*build, "-o", tmp_path / "dfedge.pyz"], check=True, env={**os.environ, "PYTHON": sys.executable})
    container.make_debian(tmp_path / "kiosk-a", "openssh-server", "sudo")
    subprocess.run(["cp", "-a", tmp_path / "kiosk-a", tmp_path / "kiosk-b"], check=True)  # with its devices
    with lab.Lan("depsys", 3) as lan, ExitStack() as stack:
        fleet = Fleet(tmp_path, lan)
        stack.callback(fleet.stop)
        operator = Operator(tmp_path, lan)
        desk = fleet.board("desk")
        desk.settings = {"SSH_AUTH_SOCK": "", "HOME": str(operator.home)}
        hosts = []
        for node in (1, 2):
            root = tmp_path / f"kiosk-{'ab'[node - 1]}"
            _let_in(root, operator.key)
            network = f"--network-namespace-path=/run/netns/{lan.namespace(node)}"
            hosts.append(stack.enter_context(container.booted(root, network)))
        addresses = [lan.address(1), lan.address(2)]
        known = operator.ssh / "known_hosts"

        def answers() -> bool:
            known.write_text(lan.run(0, ["ssh-keyscan", "-t", "ed25519", *addresses]).stdout)
            return known.read_text().count("ssh-ed25519") == 2

        until(answers, "both sshd")
        desk.start()
        yield Site(tmp_path, desk, hosts[0], hosts[1], [f"root@{addresses[0]}", f"pi@{addresses[1]}"])


def _let_in(root: Path, key: str) -> None:
    """Root, and pi who may sudo; with host keys of its own."""
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    (root / "etc/hostname").write_text(f"{root.name}\n")
    subprocess.run(["ssh-keygen", "-q", "-A", "-f", root], check=True)
    subprocess.run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "pi"], check=True)
    (root / "etc/sudoers.d/dfedge").write_text("pi ALL=(root) NOPASSWD: ALL\n")
    for home in ("root", "home/pi"):
        (root / home / ".ssh").mkdir(mode=0o700, exist_ok=True)
        (root / home / ".ssh/authorized_keys").write_text(key)
    subprocess.run(["chroot", root, "chown", "-R", "pi:pi", "/home/pi"], check=True)


def _installed(host: Container) -> tuple[str, float]:
    """The version that is the service, and how many seconds its agent has run."""
    found = json.loads(host.run("dfedge", "service", "status", "--json").stdout)
    assert found["agent"]["healthy"], found
    return found["installed"]["id"], found["agent"]["uptime"]


def test_deployed_changed_refused_and_renewed(site: Site) -> None:
    plain, sudo = site.to
    steps, outcome = site.deploy(plain, "--label", "site=hall-2")
    assert (outcome["name"], outcome["state"], outcome["seen"]) == ("kiosk-a", "healthy", True)
    assert steps["service"] == "done"
    first, _ = _installed(site.plain)
    unit = ("systemctl", "show", "--property=User,ActiveState,UnitFileState", "dfedge")
    assert set(site.plain.run(*unit).stdout.split()) == {"User=dfedge", "ActiveState=active", "UnitFileState=enabled"}
    found = site.plain.run("find", "/var/lib/dfedge", "!", "-user", "dfedge")
    assert (found.returncode, found.stdout) == (0, "")

    _, up = _installed(site.plain)
    steps, _ = site.deploy(plain)
    assert {steps[step] for step in ("file", "key", "join", "service")} == {"kept"}
    assert _installed(site.plain)[1] > up  # it was not started anew

    steps, outcome = site.deploy(sudo, "--become", "sudo")
    assert (outcome["name"], outcome["state"], outcome["seen"]) == ("kiosk-b", "healthy", True)

    _get_there_and_back(site)

    newer = site.folder / "newer.pyz"
    container.another_file(site.pyz, newer, "# another build, of the same version number\n")
    steps, _ = site.deploy(plain, file=newer)
    assert (steps["file"], steps["join"], steps["service"]) == ("done", "kept", "done")
    second, _ = _installed(site.plain)
    assert second != first

    crashes = site.folder / "crashes.pyz"
    container.another_file(site.pyz, crashes, "import sys\nif 'agent' in sys.argv: sys.exit(1)\n")
    for did in ("done", "kept"):  # it is there, but is not what runs
        steps, outcome = site.deploy(plain, file=crashes)
        assert steps["file"] == did
        assert "not healthy within 1 min" in outcome["error"] and "runs again" in outcome["error"]
        assert outcome["hint"] == f"ssh {plain} journalctl -eu dfedge"
        assert _installed(site.plain)[0] == second

    listed = {row["name"]: row for row in json.loads(site.fleet("list", "--json").stdout)["nodes"]}
    renewed = site.fleet("renew", "kiosk-a", "kiosk-b", "--days", "400")
    assert renewed.returncode == 0, renewed.stderr
    assert renewed.stderr.count("started anew") == 2
    assert _installed(site.plain)[0] == second  # not what lies there as deployed.pyz
    again = {row["name"]: row for row in json.loads(site.fleet("list", "--json").stdout)["nodes"]}
    assert [again[name]["serial"] - listed[name]["serial"] for name in ("kiosk-a", "kiosk-b", "desk")] == [1, 1, 0]
    for host in (site.plain, site.sudo):
        days = json.loads(host.run("dfedge", "status", "--json").stdout)["certificate_days"]
        assert 398 <= days <= 400

    assert site.sudo.run("dfedge", "service", "uninstall").returncode == 0
    steps, outcome = site.deploy(sudo, "--become", "sudo")
    assert (outcome["state"], steps["key"], steps["join"], steps["service"]) == ("healthy", "kept", "kept", "done")


def _get_there_and_back(site: Site) -> None:
    """From the operator's agent to a host, and from that one back."""
    image = site.folder / "image.bin"
    image.write_bytes(os.urandom(4_000_000))
    name, version = REF.split(":")
    site.desk.ask("publish", str(image), "--name", name, "--version", version)
    got = site.plain.run("dfedge", "get", REF)
    assert got.returncode == 0, got.stderr
    site.desk.ask("rm", REF)
    back = site.folder / "back.bin"
    site.desk.ask("get", REF, "-o", str(back))
    assert back.read_bytes() == image.read_bytes()
