"""Where namespaces may be made: as root, or as the root of one's own user namespace (`unshare -Urnm`)."""

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Final

from lab.command import LabError, run

TOOLS: Final = ("ip", "tc", "nft")
RUN: Final = Path("/run")
NAMESPACES: Final = RUN / "netns"  # `ip netns` has it built in
LOCKS: Final = RUN / "dfl-lab"


@cache
def available() -> str:
    """Empty when a LAN can be made here, else the reason why not."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"missing commands: {', '.join(missing)} (Debian packages iproute2, nftables)"
    if os.geteuid() != 0:
        return "network namespaces need root; try: unshare -Urnm"
    probe = f"dfl-probe-{os.getpid()}"
    try:
        prepare()
        run(["ip", "netns", "add", probe])
        run(["ip", "netns", "del", probe])
    except (LabError, OSError) as error:
        return f"network namespaces cannot be made here: {error}"
    return ""


def prepare() -> None:
    """Make the folders for namespaces and locks, private ones in a user namespace. Raises LabError, OSError."""
    if _in_user_namespace() and not os.access(NAMESPACES, os.W_OK):
        # The outer root's /run is not ours to write to; what we mount is seen in our mount namespace alone.
        over = NAMESPACES if NAMESPACES.is_dir() else RUN
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "dfl-lab", str(over)])
        NAMESPACES.mkdir(exist_ok=True)
    locks().mkdir(mode=0o700, exist_ok=True)


def locks() -> Path:
    """The folder of one lock file per LAN, held while its owner lives."""
    return LOCKS if os.access(LOCKS if LOCKS.is_dir() else RUN, os.W_OK) else NAMESPACES / ".dfl-lab"


def prefix(namespace: str) -> list[str]:
    """The command that runs another one inside `namespace`.

    `ip netns exec` also shows the namespace's own /sys; where a fresh sysfs may not be mounted, nsenter has to do.
    """
    if _has_own_sys(namespace):
        return ["ip", "netns", "exec", namespace]
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--"]


_own_sys: list[bool] = []  # found out once per process, at the first use


def _has_own_sys(namespace: str) -> bool:
    if not _own_sys:
        try:
            run(["ip", "netns", "exec", namespace, "true"])
            _own_sys.append(True)
        except LabError:
            _own_sys.append(False)
    return _own_sys[0]


def _in_user_namespace() -> bool:
    first = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return first != ["0", "0", "4294967295"]
