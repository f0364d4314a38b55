"""The machine that a number belongs to."""

import os
import platform
from pathlib import Path


def words() -> str:
    """CPU, cores, memory, kernel, distribution and Python, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{_cpu()}, {cores} {'core' if cores == 1 else 'cores'}, {memory:.1f} GiB of memory, "
        f"Linux {platform.release()}, {_distribution()}, Python {platform.python_version()}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "Hardware"}:
            return " ".join(value.split())
    return platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "an unknown distribution"
