"""dfedge.pyz as a service of a real systemd: Debian booted in a container, which has no network but its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import container
import pytest
from container import Container

REPOSITORY: Final = Path(__file__).parents[2]
pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(1200)]


class Host(Container):
    """It, with dfedge as its service."""

    def service(self, *words: object) -> Any:
        """The document of `dfedge service …`, which must go well."""
        done = self.run("dfedge", "service", *words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def wait(self, installed: str, seconds: float) -> None:
        """Until this version is the installed one, and its agent is healthy."""
        until = time.monotonic() + seconds
        while True:
            found = self.run("dfedge", "service", "status", "--json")
            document = json.loads(found.stdout) if found.returncode == 0 else {}
            if document.get("agent", {}).get("healthy") and document["installed"]["id"] == installed:
                return
            assert time.monotonic() < until, found.stdout + self.run("journalctl", "-u", "dfedge", "-n", 30).stdout
            time.sleep(1)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if reason := container.unavailable():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("host") / "root"
    container.make_debian(root)
    _put_files(root / "srv")
    with container.booted(root, "--private-network") as there:
        yield Host(there.root, there.init)


def _put_files(home: Path) -> None:
    """An enrolment, the fleet, the file as it is built, and others that are built from it."""
    fleet = [sys.executable, "-m", "dfedge", "fleet"]
    subprocess.run([*fleet, "init", home / "fleet"], check=True, cwd=REPOSITORY)
    subprocess.run(
        [*fleet, "enroll", "n1", "--out", home / "n1", "--fleet", home / "fleet"], check=True, cwd=REPOSITORY
    )
    build: list[str | Path] = [
        REPOSITORY / "scripts/build-zipapp",
        "--targets",
        os.uname().machine,
        "-o",
        home / "dfedge.pyz",
    ]
    subprocess.run(build, check=True, env={**os.environ, "PYTHON": sys.executable})
    other = {
        "good": "# another file, the same program\n",
        "broken": "import sys\nsys.exit('fail  nothing works')\n",
        "crashes": "import sys\nif 'agent' in sys.argv: sys.exit(1)\n",
        "hangs": "import sys, time\nif 'agent' in sys.argv: time.sleep(9999)\n",
    }
    for name, head in other.items():
        container.another_file(home / "dfedge.pyz", home / f"{name}.pyz", head)


def test_installed_updated_and_never_without_an_agent(host: Host) -> None:
    before = host.run("python3", "-I", "/srv/dfedge.pyz", "service", "install")
    assert "not started, as this host is no node yet" in before.stderr, before.stdout + before.stderr
    assert host.run("dfedge", "join", "/srv/n1").returncode == 0
    first = host.service("install")
    assert first["started"]
    host.wait(first["id"], 60)
    assert host.run("systemd-analyze", "security", "--threshold=20", "dfedge.service").returncode == 0

    assert host.run("dfedge", "service", "update", "/srv/broken.pyz").returncode == 1
    refused = host.run("dfedge", "service", "update", "/srv/crashes.pyz")
    assert refused.returncode == 1
    assert "not healthy within 1 min" in refused.stderr
    assert "runs again" in refused.stderr
    host.wait(first["id"], 5)

    published = ("publish", "/srv/good.pyz", "--name", "dfedge", "--version", "2", "--fleet", "/srv/fleet")
    assert host.run("dfedge", *published).returncode == 0
    second = host.service("update", "dfedge:2")
    assert second["judged"]
    host.wait(second["id"], 5)

    _kill_update(host, "/srv/hangs.pyz")
    host.wait(second["id"], 150)  # systemd waits 90 s for a start, then the guard goes back

    assert host.service("status")["previous"]["id"] == first["id"]
    assert host.run("dfedge", "service", "uninstall", "--purge", "--yes").returncode == 0
    left = [path for folder in ("etc/systemd", "usr/local", "var/lib/dfedge") for path in _files(host.root / folder)]
    assert not [path for path in left if "dfedge" in path.name]


HOOK: Final = """\
#!/bin/sh
exec >/srv/hook.said
id -u
echo "$DFEDGE_IMAGE $DFEDGE_NAME $DFEDGE_VERSION"
dfedge get "$DFEDGE_IMAGE" -o /srv/hook.image >&2 && sha256sum /srv/hook.image
exit "$(cat /srv/hook.code)"
"""


WALLS: Final = (
    "User=",
    "Environment=",
    "NoNew",
    "RestrictA",
    "RestrictN",
    "RestrictS",
    "System",
    "Cap",
    "Pro",
    "Private",
)


def test_a_hook_runs_as_root_for_the_agents_user_alone_from_inside_its_walls(host: Host) -> None:
    assert host.run("python3", "-I", "/srv/dfedge.pyz", "service", "install", "--hooks").returncode == 0
    assert host.run("dfedge", "join", "/srv/n1").returncode == 0
    first = host.service("install")
    host.wait(first["id"], 60)
    published = ("publish", "/srv/good.pyz", "--name", "os", "--version", "7", "--fleet", "/srv/fleet")
    assert host.run("dfedge", *published).returncode == 0

    unit = (host.root / "etc/systemd/system/dfedge.service").read_text().splitlines()
    walls = [word for line in unit if line.startswith(WALLS) for word in ("-p", line)]

    def ask() -> "subprocess.CompletedProcess[str]":
        enter = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", *walls)
        return host.run(*enter, "/usr/local/bin/dfedge", "service", "hook", "install", "os:7")

    missing = ask()
    assert missing.returncode == 1
    assert "this host has no /etc/dfedge/hooks/install" in missing.stderr, missing.stderr

    hook = host.root / "etc/dfedge/hooks/install"
    hook.parent.mkdir(parents=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    (host.root / "srv/hook.code").write_text("0")
    done = ask()
    assert done.returncode == 0, done.stderr + host.run("journalctl", "-u", "dfedge-hook@*", "-n", 30).stdout
    uid, image, digest = (host.root / "srv/hook.said").read_text().splitlines()
    assert (uid, image.split()[1:]) == ("0", ["os", "7"])
    assert digest.split()[0] == sha256((host.root / "srv/good.pyz").read_bytes()).hexdigest()
    (host.root / "srv/hook.code").write_text("3")
    assert "ended with exit code 3" in ask().stderr
    code = "import socket; socket.socket(socket.AF_UNIX).connect('/run/dfedge-hook.sock')"
    refused = host.run("setpriv", "--reuid=nobody", "--clear-groups", "python3", "-c", code)
    assert "PermissionError" in refused.stderr

    assert host.run("dfedge", "service", "uninstall", "--purge", "--yes").returncode == 0
    assert not (host.root / "run/dfedge-hook.sock").exists()
    assert host.run("systemctl", "is-active", "dfedge-hook.socket").stdout.strip() == "inactive"
    assert not [path for path in _files(host.root / "etc/systemd") if "dfedge" in path.name]


def _kill_update(host: Host, file: str) -> None:
    """SIGKILL to the command, as soon as its version is on trial."""
    entered = subprocess.Popen(host.command("dfedge", "service", "update", file), stderr=subprocess.DEVNULL)
    trial = host.root / "usr/local/lib/dfedge/trial"
    until = time.monotonic() + 60
    while not trial.exists():
        assert time.monotonic() < until and entered.poll() is None
        time.sleep(0.1)
    for child in Path(f"/proc/{entered.pid}/task/{entered.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    entered.wait(30)
    assert trial.exists()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()] if folder.exists() else []
