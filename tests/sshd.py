"""Hosts that are reached over real OpenSSH, for tests: each an sshd in the lab's namespaces with files of its own."""

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import fleet
import lab

SSHD: Final = Path("/usr/sbin/sshd")
ROOT: Final = Path(__file__).parents[1]

# dfedge from this tree as if it were one file, so that no test has to wait for a build. `service` starts the agent
# by itself, for there is no systemd in a namespace.
_MAIN: Final = """
import hashlib, json, os, subprocess, sys
words = [word for word in sys.argv[1:] if word != "--json"]
if words[:1] == ["service"]:
    if {service} and words[1:] == ["--help"]:
        sys.exit(0)
    if not {service} or words[1:] not in (["install"], ["status"]):
        sys.exit(2)
    if words[1:] == ["status"]:
        there = os.path.exists("/run/agent.file")
        print(json.dumps({{"installed": {{"id": open("/run/agent.file").read()}} if there else None}}))
        sys.exit(0)
    subprocess.run(["pkill", "--pidfile", "/run/agent.pid"], check=False)
    log = open("/run/agent.log", "ab")
    agent = subprocess.Popen([sys.executable, "-I", sys.argv[0], "-v", "agent"], start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    open("/run/agent.pid", "w").write(str(agent.pid))
    open("/run/agent.file", "w").write(hashlib.sha256(open(sys.argv[0], "rb").read()).hexdigest()[:16])
    print(json.dumps({{"started": True}}))
    sys.exit(0)
sys.path[:0] = {path!r}
from dfedge.__main__ import main
sys.exit(main())
"""


def unavailable() -> str:
    """Empty where such hosts can be made, else why not."""
    if not SSHD.exists():
        return "no /usr/sbin/sshd (Debian package openssh-server)"
    if Path("/proc/self/setgroups").read_text(encoding="ascii").strip() == "deny":
        return "sshd needs to be root, of more than a user namespace"
    return ""


def one_file(path: Path, *, service: bool = True) -> Path:
    """Write this tree's dfedge as a file that Python runs."""
    libraries = [str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), _MAIN.format(path=libraries, service=service))
    return path


class Host:
    """One of them. Its `bin` stands first in the PATH of who logs in."""

    def __init__(self, folder: Path, lan: lab.Lan, node: int, *, python: str = sys.executable) -> None:
        self.folder = folder
        self.address = lan.address(node)
        self.state = folder / "state"
        self._lan = lan
        self._node = node
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.program("python3", f'exec {python} "$@"')
        (folder / "dfedge.toml").write_text("")
        (folder / "lib").mkdir()
        self.keys = folder / "authorized_keys"
        self.keys.touch()
        self.new_host_key()

    def program(self, name: str, script: str) -> None:
        """Put a program into its PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def new_host_key(self) -> None:
        """As after it was installed anew."""
        key = self.folder / "host_key"
        for old in (key, key.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    @property
    def known(self) -> str:
        """Its line of known_hosts."""
        return f"{self.address} {(self.folder / 'host_key.pub').read_text()}"

    def start(self) -> "Host":
        """Start its sshd; whoever logs in sees /usr/local/lib and /run of this host alone."""
        environ = {
            "DFEDGE_STATE_DIR": self.state,
            "DFEDGE_CONFIG": self.folder / "dfedge.toml",
            "DFEDGE_CACHE": self.folder / "cache",
            "DFEDGE_STORE_KEEP_FREE": "1MiB",
            "HOME": self.folder,
            "PATH": f"{self.bin}:/usr/bin:/bin",
        }
        settings = [
            f"ListenAddress {self.address}",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.keys}",
            f"SetEnv {' '.join(f'{key}={value}' for key, value in environ.items())}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
        ]
        (self.folder / "sshd_config").write_text("\n".join(settings) + "\n")
        (self.folder / "real-lib").mkdir(exist_ok=True)
        real, config = shlex.quote(str(self.folder / "real-lib")), shlex.quote(str(self.folder / "sshd_config"))
        script = f"""set -e
            mount --bind /usr/local/lib {real}
            mount -t tmpfs tmpfs /usr/local/lib
            ln -s {real}/* /usr/local/lib/ 2>/dev/null || true
            mount -t tmpfs tmpfs /run
            mkdir -m 755 /run/sshd
            hostname gw-{self._node}
            exec {SSHD} -D -e -f {config}"""
        with (self.folder / "sshd.log").open("a") as log:
            self._lan.popen(self._node, ["unshare", "-mu", "sh", "-c", script], stdout=log, stderr=log)
        fleet.until(self._answers, f"sshd of {self.address}: {(self.folder / 'sshd.log').read_text()}")
        return self

    def _answers(self) -> bool:
        return self._lan.run(0, [sys.executable, "-c", _KNOCK, self.address]).returncode == 0


_KNOCK: Final = "import socket, sys; socket.create_connection((sys.argv[1], 22), 2)"


class Operator:
    """Who deploys: a home with a key, known_hosts, and the fleet's folder."""

    def __init__(self, folder: Path, lan: lab.Lan) -> None:
        self.home = folder / "operator"
        self.ssh = self.home / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.ssh / "id_ed25519"], check=True)
        self.key = (self.ssh / "id_ed25519.pub").read_text()
        self._lan = lan

    def knows(self, *hosts: Host) -> None:
        """Write known_hosts."""
        (self.ssh / "known_hosts").write_text("".join(host.known for host in hosts))
