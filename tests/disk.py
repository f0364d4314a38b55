"""Small disks for tests: a file system in memory or on a loop device, and another program that fills it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

MIB: Final = 1024 * 1024
XFS: Final = ("xfs",)  # files may share their blocks
EXT4: Final = ("ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0")
OLD_EXT: Final = (*EXT4, "-O", "^extent,^64bit")  # as on older cards: it can't preallocate


@contextmanager
def memory_disk(where: Path, options: str) -> Iterator[Path]:
    """A tmpfs with options such as `size=8m,nr_inodes=200`."""
    with mounted(where, "-t", "tmpfs", "-o", options, "tmpfs"):
        yield where


@contextmanager
def loop_disk(where: Path, mib: int, kind: tuple[str, ...] = EXT4) -> Iterator[Path]:
    """A file system of `mib` MiB in a file, on a block device whose writes the kernel counts."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system, which needs root")
    file = where.with_name(where.name + ".disk")
    with file.open("wb") as image:
        image.truncate(mib * MIB)
    if shutil.which(f"mkfs.{kind[0]}") is None:
        pytest.skip(f"mkfs.{kind[0]} is not installed")
    made = subprocess.run([f"mkfs.{kind[0]}", "-q", *kind[1:], str(file)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"can't make {kind[0]}: {made.stderr.strip()}")
    try:
        with mounted(where, "-o", "loop", str(file)):
            yield where
    finally:
        file.unlink()


@contextmanager
def mounted(where: Path, *args: str) -> Iterator[Path]:
    """What `mount` makes of these arguments, for us alone."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *args, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"can't mount: {done.stderr.strip()}")
    try:
        where.chmod(0o700)
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Be another program that takes all of a disk but `leave` bytes; returns its file."""
    file = disk / "filler"
    subprocess.run(
        [
            "dd",
            "if=/dev/zero",
            f"of={file}",
            "bs=64k",
            f"count={max(0, free_bytes(disk) - leave) // 65536}",
            "status=none",
        ],
        check=False,
        capture_output=True,
    )
    if not leave:
        with suppress(OSError), file.open("ab", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
    return file


def free_bytes(disk: Path) -> int:
    """What a program may still take."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def device_writes(disk: Path) -> int:
    """Bytes that have gone to the block device below a mounted loop disk, file system's own included."""
    subprocess.run(["sync", "-f", str(disk)], check=True)
    device = os.stat(disk).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(stat[6]) * 512  # sectors of 512 bytes, whatever the device's are
