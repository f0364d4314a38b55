"""`fleet deploy` as an operator sees it: real OpenSSH servers, each host in a namespace, some not as they should be."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lab
import pytest
import sshd
from fleet import Board, Fleet, until
from sshd import ROOT, Host, Operator

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]


@dataclass
class Site:
    """The operator at node 0, with a fleet of its own, and hosts at the others."""

    lan: lab.Lan
    fleet: Fleet
    board: Board
    operator: Operator
    hosts: list[Host]
    pyz: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.board.settings = {"SSH_AUTH_SOCK": "", **self.board.settings, "HOME": str(self.operator.home)}
        return self.board.run("fleet", *words, timeout=150)

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("deploy", *words, "--file", str(self.pyz))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if reason := sshd.unavailable():
        pytest.skip(reason)
    with lab.Lan("deploy", 4) as lan:
        fleet = Fleet(tmp_path, lan)
        operator = Operator(tmp_path, lan)
        board = fleet.board("desk")
        hosts = [Host(tmp_path / f"gw-{node}", lan, node) for node in (1, 2, 3)]
        for host in hosts:
            host.keys.write_text(operator.key)
        operator.knows(*hosts)
        try:
            yield Site(lan, fleet, board, operator, hosts, sshd.one_file(tmp_path / "dfedge.pyz"))
        finally:
            fleet.stop()


def test_three_hosts_one_refuses_the_key_one_has_an_old_python(site: Site) -> None:
    one, locked, old = site.hosts
    locked.keys.write_text("")
    old.program("python3", "echo 3.9.2 64 glibc")
    for host in site.hosts:
        host.start()
    site.board.start()

    started = time.monotonic()
    ran = site.deploy(*(host.address for host in site.hosts), "--label", "site=hall-2")
    took = time.monotonic() - started

    assert ran.returncode == 1
    assert took < 25
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()[1:]}
    assert "gw-1  healthy" in rows[one.address] and rows[one.address].endswith("yes")
    assert "failed" in rows[locked.address] and rows[locked.address].endswith("untrusted")
    assert "failed" in rows[old.address] and rows[old.address].endswith("refused")
    assert f"dfedge: {locked.address}: lets none of your keys in [untrusted]" in ran.stderr
    assert f"dfedge: {old.address}: python3 there is 3.9.2, dfedge needs 3.11 or newer" in ran.stderr
    assert f"try: ssh-add -l; ssh {locked.address}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (one.state / "node" / "node_key").stat().st_mode & 0o777 == 0o600
    assert not list(site.fleet.operator.rglob("node_key"))  # the private key stays where it was made

    # again: what is done stays as it is, what failed is made good
    key = (one.state / "node" / "node_key").read_bytes()
    locked.keys.write_text(site.operator.key)
    old.program("python3", f'exec {sys.executable} "$@"')
    again = site.deploy(*(host.address for host in site.hosts), "--json")
    assert again.returncode == 0, again.stderr + again.stdout
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    steps = {(line["host"], line["step"]): line["did"] for line in lines if line["type"] == "step"}
    assert {steps[one.address, step] for step in ("file", "key", "join", "service")} == {"kept"}
    assert {steps[old.address, step] for step in ("file", "key", "join", "service")} == {"done"}
    assert [host["state"] for host in lines[-1]["hosts"]] == ["healthy"] * 3
    assert [host["seen"] for host in lines[-1]["hosts"]] == [True] * 3
    assert (one.state / "node" / "node_key").read_bytes() == key

    listed = {row["name"]: row for row in json.loads(site.run("list", "--json").stdout)["nodes"]}
    assert listed["gw-1"]["labels"] == {"site": "hall-2"}
    assert listed["gw-1"]["agent"].startswith("dfedge ")
    assert listed["gw-1"]["seen"] == 0

    # renewal goes the same way
    serial = listed["gw-1"]["serial"]
    renewed = site.run("renew", "gw-1", "--days", "400")
    assert renewed.returncode == 0, renewed.stderr
    listed = {row["name"]: row for row in json.loads(site.run("list", "--json").stdout)["nodes"]}
    assert listed["gw-1"]["serial"] == serial + 1
    kept = (site.fleet.operator / "nodes" / "gw-1" / "node.record").read_bytes()
    assert (one.state / "node" / "node.record").read_bytes() == kept
    carried = site.run("renew", "desk")
    assert carried.returncode == 1 and "--out DIR" in carried.stderr


def test_a_dry_run_changes_nothing(site: Site) -> None:
    host = site.hosts[0].start()
    ran = site.deploy(host.address, "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "would copy" in ran.stderr and "would" in ran.stdout
    assert not host.state.exists()
    assert not (site.fleet.operator / "nodes" / "gw-1").exists()
    done = site.deploy(host.address)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in site.deploy(host.address, "--dry-run").stdout


def test_a_host_key_that_is_unknown_or_changed_is_never_accepted(site: Site) -> None:
    known, other = site.hosts[0], site.hosts[1]
    site.operator.knows(known)
    known.new_host_key()
    known.start()
    other.start()
    (site.operator.ssh / "config").write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    ran = site.deploy(known.address, other.address)
    assert ran.returncode == 1
    assert "unknown host key ssh-ed25519 SHA256:" in ran.stderr
    (site.operator.ssh / "config").unlink()
    ran = site.deploy(known.address, other.address)
    assert ran.returncode == 1
    assert f"{known.address}  failed   its host key is not the known one" in ran.stderr
    assert f"ssh-keygen -R {known.address}" in ran.stderr
    assert f"ssh-keyscan {other.address}" in ran.stderr
    assert not known.state.exists() and not other.state.exists()


def test_a_host_that_is_not_there_or_asks_for_a_password_of_sudo_says_so(site: Site) -> None:
    host = site.hosts[0].start()
    host.program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    ran = site.deploy(f"root@{host.address}", site.hosts[1].address, "--become", "sudo")
    assert ran.returncode == 1
    assert "sudo asks for a password, and there is nobody to ask" in ran.stderr
    assert "failed   connection refused" in ran.stderr
    host.program("sudo", '[ "$1" = -n ] && shift; [ "$1" = -- ] && shift; exec "$@"')
    ran = site.deploy(f"root@{host.address}", "--become", "sudo")
    assert ran.returncode == 0, ran.stderr


def test_a_file_without_a_service_says_how_to_start_it(site: Site) -> None:
    host = site.hosts[0].start()
    sshd.one_file(site.pyz, service=False)
    ran = site.deploy(f"kiosk-07={host.address}")
    assert ran.returncode == 0, ran.stderr
    assert "start it there: python3 -I /usr/local/lib/dfedge/deployed.pyz agent" in ran.stderr
    assert "kiosk-07  joined" in ran.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_one_file_deploys_itself_over_ssh(site: Site, tmp_path: Path) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python is not None
    pyz = tmp_path / "built.pyz"
    subprocess.run([ROOT / "scripts/build-zipapp", "--targets", os.uname().machine, "-o", pyz], check=True)
    for host in site.hosts:  # a service belongs to systemd, which no namespace has
        host.program("python3", f'case " $* " in *" service "*) exit 2;; esac; exec {python} "$@"')
        host.start()
    environ = site.board.environ | {"HOME": str(site.operator.home), "DFEDGE_CACHE": str(site.operator.home / "cache")}
    addresses = [host.address for host in site.hosts]
    started = time.monotonic()
    ran = site.lan.run(0, [python, "-I", str(pyz), "fleet", "deploy", *addresses], environ, timeout=120)
    took = time.monotonic() - started
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("  joined  ") == 3
    assert took < 25, f"{took:.1f} s"
    for node, host in enumerate(site.hosts, 1):
        record = site.fleet.operator / "nodes" / f"gw-{node}" / "node.record"
        assert (host.state / "node" / "node.record").read_bytes() == record.read_bytes()


def test_ssh_config_a_jump_host_and_a_key_in_the_agent_are_the_operators_own(site: Site) -> None:
    jump, inner = site.hosts[0].start(), site.hosts[1].start()
    folder = site.operator.ssh
    (folder / "config").write_text(f"Host inner\n  HostName {inner.address}\n  User root\n  ProxyJump {jump.address}\n")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True)
    refused = site.deploy("inner")
    assert refused.returncode == 1 and "lets none of your keys in" in refused.stderr
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", key], check=True)
    held = folder / "agent"
    agent = site.lan.popen(0, ["ssh-agent", "-D", "-a", str(held)])
    until(held.exists, "the agent's socket")
    subprocess.run(["ssh-add", "-q", key], env=os.environ | {"SSH_AUTH_SOCK": str(held)}, check=True)
    key.unlink()
    site.board.settings["SSH_AUTH_SOCK"] = str(held)
    ran = site.deploy("inner")
    assert ran.returncode == 0, ran.stderr
    assert "inner  inner  healthy" in ran.stdout
    assert agent.poll() is None
