"""A disk whose power can be cut: ext4 in a file, and the kernel told to stop it without writing anything more."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN, which xfs has too
NO_LOG_FLUSH: Final = 2  # neither data nor the file system's own journal is written any more


class Unable(Exception):
    """This host does not let us do it."""


class Disk:
    """A file system that loses what was not synced when it is `cut`."""

    def __init__(self, image: Path, mountpoint: Path, mebibytes: int) -> None:
        self._image = image
        self.mountpoint = mountpoint
        with image.open("wb") as file:
            file.truncate(mebibytes << 20)
        _run("mkfs.ext4", "-q", str(image))
        mountpoint.mkdir()

    def mount(self) -> None:
        """Put it in its place; after a cut the kernel replays its journal."""
        _run("mount", "-o", "loop", str(self._image), str(self.mountpoint))
        self.mountpoint.chmod(0o700)

    def unmount(self) -> None:
        """Take it away."""
        _run("umount", str(self.mountpoint))

    def cut(self) -> None:
        """Cut the power: whatever is not on the disk by now never gets there."""
        fd = os.open(self.mountpoint, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            raise Unable(f"this kernel cuts no power of ext4: {error.strerror}") from error
        finally:
            os.close(fd)


@contextmanager
def mounted(folder: Path, mebibytes: int) -> Iterator[Disk]:
    """A new disk, mounted for the time of the block."""
    disk = Disk(folder / "disk.img", folder / "disk", mebibytes)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unable(f"there is no {command[0]}") from None
    if done.returncode:
        raise Unable(f"{command[0]}: {done.stderr.strip()}")
