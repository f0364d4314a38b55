"""How much the store may hold, how much it does, and what has to go before something fits."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.units import size
from dfedge.store.eviction import NOTHING, Room, Watermarks
from dfedge.store.layout import Layout

KEEP_INODES: Final = 1024  # inodes left to others, as keep_free is of bytes; on a small disk one in a hundred


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store may take of the disk."""

    quota: int | None  # bytes it may hold at most; none: what the disk has
    keep_free: int  # bytes it leaves on the file system
    watermarks: Watermarks


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk and the store's share of it, in bytes unless it says inodes."""

    bytes: int  # blobs and partial files at their full length
    free: int  # what the file system has left for us
    reserved: int  # of `free`, what partial files and stages have yet to take
    inodes: int | None  # free ones; none where the file system does not count them
    keep_inodes: int
    limits: Limits

    @property
    def limit(self) -> int:
        """The most the store may hold now: its quota, or less where the disk has less to give."""
        disk = self.bytes - self.reserved + self.free - self.limits.keep_free
        return disk if self.limits.quota is None else min(disk, self.limits.quota)

    @property
    def is_disk_bound(self) -> bool:
        """Whether it is the disk that limits the store, not its quota."""
        return self.limits.quota is None or self.limit < self.limits.quota

    def lacking(self, need: Room = NOTHING) -> Room:
        """What must go before `need` more fits; nothing where it does."""
        inodes = 0 if self.inodes is None else need.inodes + self.keep_inodes - self.inodes
        return Room(max(0, self.bytes + need.nbytes - self.limit), max(0, inodes))

    def wished(self, need: Room = NOTHING) -> int:
        """Bytes that should go as well, to be at the lower watermark with `need` more; 0 below the upper one."""
        after, marks = self.bytes + need.nbytes, self.limits.watermarks
        if after * 100 <= self.limit * marks.start:
            return 0
        return max(0, after - max(0, self.limit) * marks.stop // 100)

    def pressure(self) -> str:
        """Why something has to go though nothing new comes; empty where nothing has to."""
        lack, limits = self.lacking(), self.limits
        if lack.inodes:
            return f"{self.inodes:,} inodes are free, {self.keep_inodes:,} are to stay free"
        if lack.nbytes and self.is_disk_bound:
            return f"{size(self.free)} is free, {size(limits.keep_free + self.reserved)} is to stay free"
        if lack.nbytes:
            return f"the store holds {size(self.bytes)}, its quota is {size(limits.quota or 0)}"
        if self.wished():
            return (
                f"the store holds {size(self.bytes)} of the {size(self.limit)} it may, over {limits.watermarks.start} %"
            )
        return ""


def measure(layout: Layout, limits: Limits, staged: Room = NOTHING) -> Usage:
    """Look at the disk. `staged` is what open stages have yet to write."""
    used = reserved = 0
    for folder in (layout.blobs, *(path for path in layout.partial.iterdir() if path.is_dir())):
        for nbytes, allocated in _files(folder):
            used += nbytes
            reserved += max(0, nbytes - allocated) if folder != layout.blobs else 0
    disk = os.statvfs(layout.state)
    return Usage(
        bytes=used + staged.nbytes,
        free=disk.f_bavail * disk.f_frsize,
        reserved=reserved + staged.nbytes,
        inodes=disk.f_favail - staged.inodes if disk.f_files else None,
        keep_inodes=min(KEEP_INODES, disk.f_files // 100),
        limits=limits,
    )


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
