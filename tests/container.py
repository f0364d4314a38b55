"""Debian booted with its own systemd in a container, for tests."""

import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

PATH: Final = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def unavailable(*tools: str) -> str:
    """Empty where such containers can be made, by default those of systemd-nspawn, else why not."""
    needed = tools or ("mmdebstrap", "systemd-nspawn", "nsenter")
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        return f"needs root and {', '.join(missing) or 'nothing else'}"
    return ""


def debian_mirror() -> str:
    """Where this machine has its packages from."""
    sources = Path("/etc/apt/sources.list.d/debian.sources").read_text(encoding="utf-8")
    return next(line.split()[1] for line in sources.splitlines() if line.startswith("URIs:"))


def make_debian(root: Path, *packages: str) -> None:
    """Debian 12 with systemd, Python and these."""
    include = ",".join(("systemd", "systemd-sysv", "dbus", "python3", *packages))
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={include}",
         "--aptopt=APT::Install-Recommends \"false\"", "bookworm", root, debian_mirror()],
        check=True,
    )  # fmt: skip


def another_file(built: Path, path: Path, head: str) -> None:
    """Write `built`, a dfedge.pyz, to `path` as another build: one that does `head` first."""
    path.write_bytes(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(built) as whole, zipfile.ZipFile(path, "a") as archive:
        for member in whole.infolist():
            added = head.encode() if member.filename == "__main__.py" else b""
            archive.writestr(copy(member), added + whole.read(member))  # it notes its place in there


@dataclass(frozen=True)
class Container:
    """A booted one: its files, and its first process."""

    root: Path
    init: int

    def command(self, *words: object) -> list[str]:
        enter = ["nsenter", "--target", str(self.init), "--all", "env", "-i", f"PATH={PATH}", "HOME=/root"]
        return [*enter, *map(str, words)]

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=300)


@contextmanager
def booted(root: Path, *options: str) -> Iterator[Container]:
    """Boot these files, with these options of systemd-nspawn. Skips the test where that does not work."""
    command = ["systemd-nspawn", "--quiet", "--directory", str(root), "--register=no", "--keep-unit", *options]
    with root.with_name(f"{root.name}.console").open("wb") as console:
        nspawn = subprocess.Popen([*command, "--boot", "--console=pipe"], stdin=subprocess.DEVNULL, stdout=console)
    try:
        yield Container(root, _init_of(nspawn))
    finally:
        nspawn.terminate()
        nspawn.wait(60)


def _init_of(nspawn: "subprocess.Popen[Any]") -> int:
    """Wait for the container's systemd; its process as we see it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if children:
            container = Container(Path(), int(children[0]))
            if container.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return container.init
        if nspawn.poll() is not None:
            break
        time.sleep(1)
    pytest.skip("systemd does not boot in a container here")
