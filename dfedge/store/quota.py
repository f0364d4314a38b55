"""Whether something fits, before its first byte is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfedge.core.errors import NoSpace
from dfedge.core.units import size
from dfedge.store.eviction import Eviction
from dfedge.store.layout import Layout


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk and the store's share of it, all in bytes."""

    bytes: int  # blobs and partial files at their full length
    free: int  # what the file system has left for us
    reserved: int  # of `free`, what partial files and stages have yet to take
    quota: int | None  # the most the store may hold
    keep_free: int  # what the store leaves on the file system

    def lacking(self, need: int) -> int:
        """How many bytes must go before `need` more fit; 0 or less where they do."""
        lack = need + self.keep_free + self.reserved - self.free
        if self.quota is not None:
            lack = max(lack, self.bytes + need - self.quota)
        return lack


def measure(layout: Layout, quota: int | None, keep_free: int, staged: int = 0) -> Usage:
    """Look at the disk. `staged` is what open stages have yet to write, in bytes."""
    used = reserved = 0
    for folder in (layout.blobs, *(path for path in layout.partial.iterdir() if path.is_dir())):
        for nbytes, allocated in _files(folder):
            used += nbytes
            reserved += max(0, nbytes - allocated) if folder != layout.blobs else 0
    disk = os.statvfs(layout.state)
    return Usage(used + staged, disk.f_bavail * disk.f_frsize, reserved + staged, quota, keep_free)


def _files(folder: Path) -> list[tuple[int, int]]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # renamed meanwhile
                    continue
                found.append((stat.st_size, stat.st_blocks * 512))
    except FileNotFoundError:
        pass
    return found


def no_space(state: Path, label: str, need: int, usage: Usage, possible: Sequence[Eviction]) -> NoSpace:
    """Word the refusal: what is needed, what there is, and what could go."""
    parts = [f"{label} needs {size(need)}"]
    free = usage.free - usage.reserved
    parts.append(f"{size(max(0, free))} is free (keep_free {size(usage.keep_free)})")
    if usage.quota is not None:
        parts.append(f"the store holds {size(usage.bytes)} of its quota {size(usage.quota)}")
    if possible:
        names = ", ".join(one.label for one in possible[:3]) + (", …" if len(possible) > 3 else "")
        parts.append(f"evicting {names} would free {size(sum(one.nbytes for one in possible))}")
    else:
        parts.append("nothing can be evicted")
    return NoSpace(f"store {state}: {', '.join(parts)}", hint="dfedge gc --dry-run")
