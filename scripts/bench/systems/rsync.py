"""rsync from one host, plain and over OpenSSH: what people use who have no distribution system."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar, Final

from bench import outfit
from bench.scenario import Scenario
from bench.stage import SEED
from bench.system import System

RSYNC_PORT: Final = 873
SSH_PORT: Final = 2222
MAX_STARTUPS: Final = 200  # all takers come at once; sshd would turn some away


class Rsync(System):
    name: ClassVar = "rsync"
    words: ClassVar = "rsync's own daemon at the seed, plaintext, one stream for each node"

    @classmethod
    def missing(cls, scenario: Scenario) -> str:
        return _only_the_seed_sends(scenario) or outfit.command_missing("rsync", "rsync")

    def prepare(self) -> None:
        stage = self.stage
        self._copies: dict[int, subprocess.Popen[str]] = {}
        config = stage.folder / "rsyncd.conf"
        user = f"uid = {os.geteuid()}\ngid = {os.getegid()}\n"
        config.write_text(f"use chroot = no\n{user}[image]\npath = {stage.image.path.parent}\n", encoding="utf-8")
        argv: list[str | Path] = ["rsync", "--daemon", "--no-detach", f"--port={RSYNC_PORT}", "--config", config]
        stage.start(SEED, argv)
        probe = ["rsync", f"rsync://{stage.lan.address(SEED)}/image/"]
        stage.await_that(lambda: stage.lan.run(1, probe).returncode == 0, "rsync's daemon to answer")

    def go(self, taker: int) -> None:
        source = f"rsync://{self.stage.lan.address(SEED)}/image/{self.stage.image.path.name}"
        self._copies[taker] = self.stage.start(taker, ["rsync", source, self.stage.output(taker)])

    def done(self, taker: int) -> bool:
        return self.stage.succeeded(self._copies[taker], taker)


class RsyncOverSsh(System):
    name: ClassVar = "rsync-ssh"
    words: ClassVar = "rsync over OpenSSH as it is configured by default, one stream for each node"

    @classmethod
    def missing(cls, scenario: Scenario) -> str:
        return (
            _only_the_seed_sends(scenario)
            or outfit.command_missing("rsync", "rsync")
            or outfit.command_missing("sshd", "openssh-server")
            or outfit.command_missing("ssh", "openssh-client")
        )

    def prepare(self) -> None:
        stage = self.stage
        self._copies: dict[int, subprocess.Popen[str]] = {}
        self._user: str = pwd.getpwuid(os.geteuid()).pw_name
        for key in ("host", "user"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(stage.folder / key)]
            subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, timeout=20)
        self._start_sshd()
        probe = [*self._ssh(), f"{self._user}@{stage.lan.address(SEED)}", "true"]
        stage.await_that(lambda: stage.lan.run(1, probe).returncode == 0, "sshd to let us in", 20.0)

    def go(self, taker: int) -> None:
        stage = self.stage
        source = f"{self._user}@{stage.lan.address(SEED)}:{stage.image.path}"
        self._copies[taker] = stage.start(taker, ["rsync", "-e", " ".join(self._ssh()), source, stage.output(taker)])

    def done(self, taker: int) -> bool:
        return self.stage.succeeded(self._copies[taker], taker)

    def _start_sshd(self) -> None:
        folder = self.stage.folder
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        config = folder / "sshd_config"
        lines = [
            f"Port {SSH_PORT}",
            f"HostKey {folder / 'host'}",
            f"AuthorizedKeysFile {folder / 'authorized_keys'}",
            f"MaxStartups {MAX_STARTUPS}",
            "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
        ]
        config.write_text("\n".join(lines) + "\n", encoding="ascii")
        # sshd insists on /run/sshd, which the machine need not have: it gets one that only it can see.
        script = 'mount -t tmpfs dfbench /run && mkdir -m 0755 /run/sshd && exec "$1" -D -e -f "$2"'
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        self.stage.start(SEED, ["unshare", "-m", "sh", "-c", script, "sh", sshd, config])

    def _ssh(self) -> list[str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"]
        words = [word for option in (*options, "BatchMode=yes", "ControlPath=none") for word in ("-o", option)]
        return ["ssh", "-F", "none", "-p", str(SSH_PORT), "-i", str(self.stage.folder / "user"), *words]


def _only_the_seed_sends(scenario: Scenario) -> str:
    return "only the seed sends" if scenario.seed_dies_at is not None else ""
