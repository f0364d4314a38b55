"""Killing an install or uninstall at any call of the disk, and what the host runs afterwards."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from dfedge.install import file, guard, version
from dfedge.install.place import Place
from dfedge.install.version import linked

PYTHON: Final = Path(sys.executable)

STEPS: Final = [
    (os, "fsync"), (os, "rename"), (os, "symlink"), (os, "fchmod"), (Path, "rename"), (Path, "symlink_to"),
    (Path, "unlink"), (Path, "mkdir"), (guard, "sync_folder"), (guard, "repoint"), (guard, "end_trial"),
    (version, "_copied"), (file, "sync_folder"), (os, "unlink"), (os, "rmdir"),
]  # fmt: skip


def killed_at(step: int, act: Any) -> bool:
    """Run `act` in a process that dies at its `step`th call of the disk, before or after it; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = [step]
        for owner, name in STEPS:
            real = getattr(owner, name)

            def dying(*args: Any, real: Any = real, **more: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return real(*args, **more)

            setattr(owner, name, dying)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def starts(place: Place) -> str:
    """What the host runs at its next start, through the guard that lies there, as root's systemd does it."""
    copy = place.folder / "guard.py"
    if copy.exists():
        subprocess.run([PYTHON, "-I", copy, place.state], check=True, capture_output=True)
    found = linked(place.folder, guard.CURRENT)
    if found is None:
        return "nothing"
    ran = subprocess.run([PYTHON, "-I", found.file, "selftest"], capture_output=True, text=True, check=True)
    assert ran.stdout == "ok\n"
    return found.number
