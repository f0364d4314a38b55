"""A disk that fails: the k-th call of a kind under one folder, once or from then on. Everything else is the real disk.

In a test's own process it is put between by `failing`. As a program it is a whole agent with such a disk:

    PLAN=plan.json FOLDER=STATE python -m crash.faulty agent

which looks at the file before each call: `write_plan` arms it, and disarms it again, while the agent runs.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

from dfedge.store import allocation

KINDS: Final = {
    "write": ("write", "pwrite", "pwritev"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "replace"),
    "fallocate": ("_fallocate",),
    "close": ("close",),
    "open": ("open",),
    "remove": ("unlink", "rmdir"),
    "mkdir": ("mkdir",),
    "read": ("pread", "preadv", "read"),
}


@dataclass(frozen=True)
class Plan:
    """Which call fails and how. `number` counts from 1; 0 fails none. `error` "SHORT" is a write that takes little."""

    kind: str
    number: int
    error: str
    for_good: bool


def _home(name: str) -> Any:
    """Where the program looks a call up."""
    return allocation if name == "_fallocate" else os


class FaultyDisk:
    """Counts the calls of the plan's kind, and fails the one that is due."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._real: dict[str, Callable[..., Any]] = {
            name: getattr(_home(name), name) for names in KINDS.values() for name in names
        }
        self.plan: Plan | None = None
        self.seen = 0
        self.before: Callable[[], None] = lambda: None
        self.failed: Callable[[], None] = lambda: None

    @property
    def fired(self) -> bool:
        """Whether the plan's call has come."""
        return self.plan is not None and 0 < self.plan.number <= self.seen

    def arm(self, plan: Plan | None) -> None:
        """Begin a plan, or end one: the disk is well then."""
        self.plan, self.seen = plan, 0

    def put_between(self) -> None:
        """Stand between this process and the kernel until it ends, or `take_away`."""
        for kind, names in KINDS.items():
            for name in names:
                setattr(_home(name), name, self._between(kind, name))

    def take_away(self) -> None:
        """Give the real calls back."""
        for name, real in self._real.items():
            setattr(_home(name), name, real)

    def _between(self, kind: str, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            self.before()
            plan = self.plan
            if plan is None or plan.kind != kind or not self._concerns(args[0]):
                return real(*args, **kwargs)
            self.seen += 1
            if not plan.number or self.seen < plan.number or (self.seen > plan.number and not plan.for_good):
                return real(*args, **kwargs)
            if self.seen == plan.number:
                self.failed()
            if plan.error == "SHORT":
                return real(args[0], _half(args[1]), *args[2:])
            if kind == "close":
                real(*args)  # the kernel gives the descriptor back even where it tells an error
            code = getattr(errno, plan.error)
            raise OSError(code, os.strerror(code), None if isinstance(args[0], int) else str(args[0]))

        return call

    def _concerns(self, where: object) -> bool:
        if isinstance(where, int):
            try:
                where = os.readlink(f"/proc/self/fd/{where}")
            except OSError:
                return False
        return str(where).startswith(self._folder)


def _half(data: Any) -> Any:
    """What a short write takes: half of the bytes, or of the first of several blocks."""
    if isinstance(data, list):
        return [_half(data[0])]
    return data[: max(1, len(data) // 2)]


@contextmanager
def failing(folder: Path) -> Iterator[FaultyDisk]:
    """A disk that fails when it is told to, for what lies under `folder`."""
    disk = FaultyDisk(folder)
    disk.put_between()
    try:
        yield disk
    finally:
        disk.take_away()


def write_plan(path: Path, plan: Plan | None) -> None:
    """Arm the agent that looks at `path`, or disarm it."""
    path.with_suffix(".fired").unlink(missing_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(plan) if plan else None))
    draft.rename(path)


def has_fired(path: Path) -> bool:
    """Whether the call that was to fail has come."""
    return path.with_suffix(".fired").exists()


def _follow(disk: FaultyDisk, path: Path) -> None:
    """Do what the plan in a file says, as soon as it is another."""
    known = [0]
    looking = Lock()  # no other thread may go by the old plan while one reads the new

    def look() -> None:
        with looking, suppress(FileNotFoundError):
            found = os.stat(path).st_ino
            if found != known[0]:
                known[0] = found
                plan = json.loads(path.read_text())
                disk.arm(Plan(**plan) if plan else None)

    disk.before = look
    disk.failed = path.with_suffix(".fired").touch  # the file is not under the folder


def main() -> int:
    """Run dfedge on a disk that fails."""
    disk = FaultyDisk(Path(os.environ.pop("FOLDER")))
    _follow(disk, Path(os.environ.pop("PLAN")))
    disk.put_between()
    from dfedge.__main__ import main as dfedge
    from dfedge.store import health

    vars(health)["PROBE_S"] = 0.2  # tests wait for it

    return dfedge()


if __name__ == "__main__":
    sys.exit(main())
