"""A disk that is slow: ext4 on a loop device that the kernel holds to a rate.

By the blkio controller of control groups v1, in the root group: what the kernel writes back later is counted there.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from board import Broken

GROUP: Final = Path("/sys/fs/cgroup/blkio")
LIMITS: Final = tuple(GROUP / f"blkio.throttle.{way}_bps_device" for way in ("read", "write"))
SIZE: Final = 1 << 30  # bytes
UNSLOWED: Final = 0  # what takes a limit away


@contextmanager
def slow_disk(temp: Path, rate: int) -> Iterator[Path]:
    """The root folder of a disk of a GiB in a file under `temp`, reading and writing `rate` bytes/s at most.

    Raises Broken where this kernel can't.
    """
    if not all(limit.exists() for limit in LIMITS):
        raise Broken(f"no {LIMITS[1]}: a slow disk needs the blkio controller of control groups v1")
    with tempfile.TemporaryDirectory(prefix="dfbench-", dir=temp) as made:
        file, where = Path(made) / "disk", Path(made) / "mounted"
        with file.open("wb") as image:
            image.truncate(SIZE)
        where.mkdir()
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(file))
        device = _run("losetup", "--find", "--show", str(file))
        try:
            number = Path(device).stat().st_rdev
            _limit(number, rate)
            try:
                _run("mount", device, str(where))
                try:
                    yield where
                finally:
                    _run("umount", str(where))
            finally:
                _limit(number, UNSLOWED)
        finally:
            with suppress(Broken):  # mounted still: the kernel lets go of it with the mount
                _run("losetup", "--detach", device)


def _limit(number: int, rate: int) -> None:
    for limit in LIMITS:
        limit.write_text(f"{os.major(number)}:{os.minor(number)} {rate}\n", encoding="ascii")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise Broken(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout.strip()
