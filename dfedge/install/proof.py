"""Whether a version works on this host, tried before anything leads to it."""

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dfedge.core.errors import Refused, TimedOut
from dfedge.core.units import duration
from dfedge.install.place import ACCOUNT, Place
from dfedge.install.version import Version

LIMIT_S: Final = 120.0  # a first start on a slow SD card takes 20 s
_TOLD: Final = 300  # characters of what it said


def prove(place: Place, version: Version, python: Path, limit_s: float = LIMIT_S) -> None:
    """Run its `selftest` as the agent will run: by the same Python, and not as root. Raises Refused or TimedOut."""
    with tempfile.TemporaryDirectory(prefix="dfedge-proof-") as folder:
        account = _account(place)
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TMPDIR": folder, "HOME": folder}
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        if place.is_here:
            _make_cache(place.cache, account)
            environ["DFEDGE_CACHE"] = str(place.cache)  # so the first start finds it unpacked
        _run([str(python), "-I", str(version.file), "selftest"], environ, version, account, limit_s)


def _run(
    command: list[str], environ: Mapping[str, str], version: Version, account: pwd.struct_passwd | None, limit_s: float
) -> None:
    uid, gid = (account.pw_uid, account.pw_gid) if account else (None, None)
    groups: list[int] | None = [] if account else None
    try:
        process = subprocess.Popen(
            command, env=environ, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            user=uid, group=gid, extra_groups=groups, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise Refused(f"{command[0]}: not there, so nothing can run dfedge", "apt-get install python3") from None
    with process:
        try:
            said, _ = process.communicate(timeout=limit_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            text = f"{version.label}: its selftest did not end in {duration(limit_s)}; nothing was changed"
            raise TimedOut(text) from None
    if process.returncode != 0:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        wrong = next((line for line in lines if line.startswith(("fail", "dfedge:"))), lines[-1] if lines else "")
        raise Refused(
            f"{version.label}: it does not work on this host: {wrong[:_TOLD] or f'exit code {process.returncode}'}; "
            "nothing was changed",
            f"{command[0]} -I FILE selftest",
        )


def _account(place: Place) -> pwd.struct_passwd | None:
    """Whom to be; ourselves where we are not root, or build an image."""
    if place.user or not place.is_here or os.geteuid() != 0:
        return None
    return pwd.getpwnam(ACCOUNT)


def _make_cache(cache: Path, account: pwd.struct_passwd | None) -> None:
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    if account is not None and cache.lstat().st_uid != account.pw_uid:  # systemd would do the same
        os.chown(cache, account.pw_uid, account.pw_gid, follow_symlinks=False)
