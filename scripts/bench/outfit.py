"""Install what the other systems need: Debian's packages if we are root, PyPI's into an environment of its own."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
VENV: Final = ROOT / "build" / "bench-venv"
INSTALL_S: Final = 300.0  # bounds a silent network
_SERVICES: Final = Path("/usr/sbin/policy-rc.d")  # Debian asks it before it starts a service


@cache
def command_missing(command: str, package: str) -> str:
    """Find a command, or install its package; empty when it is there, else why it is not."""
    if shutil.which(command):
        return ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or _outer_root_is_not_us():
        return f"{command} is not installed (Debian: {package})"
    print(f"bench: installing {package}", file=sys.stderr)
    made = not _SERVICES.exists()
    try:
        if made:
            _SERVICES.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
            _SERVICES.chmod(0o755)
        said = _quiet(["apt-get", "install", "-q", "-y", "--no-install-recommends", package])
        if said and not _quiet(["apt-get", "update", "-q"]):
            said = _quiet(["apt-get", "install", "-q", "-y", "--no-install-recommends", package])
    finally:
        if made:
            _SERVICES.unlink(missing_ok=True)
    return "" if shutil.which(command) else f"{command}: apt-get could not install {package}: {said}"


@cache
def package_missing(package: str) -> str:
    """Have a PyPI package in the environment at VENV; empty when it is there, else why it is not."""
    if _quiet([python(), "-c", f"import {package}"]) == "":
        return ""
    print(f"bench: installing {package} from PyPI", file=sys.stderr)
    if said := _quiet([sys.executable, "-m", "venv", str(VENV)]):
        return f"{VENV}: {said}"
    if said := _quiet([python(), "-m", "pip", "install", "-q", "--disable-pip-version-check", package]):
        return f"pip could not install {package}: {said}"
    return _quiet([python(), "-c", f"import {package}"])


def python() -> str:
    """The interpreter of that environment."""
    return str(VENV / "bin" / "python")


def _outer_root_is_not_us() -> bool:
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]


def _quiet(argv: list[str]) -> str:
    """Run it; empty when it went well, else the last line it said."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else lines[-1] if lines else f"exit status {done.returncode}"
