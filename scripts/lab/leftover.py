"""Remove what runs that were killed left behind. A LAN is alive as long as its owner holds its lock file."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lab.command import run
from lab.place import NAMESPACES, locks, prepare

PREFIX: Final = "dfl-"


def hold(tag: str) -> int:
    """Take the lock of a new LAN; returns the descriptor that holds it. The kernel lets go when the owner dies."""
    with _one_at_a_time():
        descriptor = os.open(locks() / tag, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def release(tag: str, descriptor: int) -> None:
    (locks() / tag).unlink(missing_ok=True)
    os.close(descriptor)


def clean() -> list[str]:
    """Remove the namespaces of dead owners and kill what still runs in them; returns their names."""
    prepare()
    with _one_at_a_time():
        return _clean()


def _clean() -> list[str]:
    removed = []
    alive: dict[str, bool] = {}
    for namespace in sorted(path.name for path in NAMESPACES.glob(f"{PREFIX}*")):
        tag = namespace.removeprefix(PREFIX).rpartition("-")[0]
        if tag not in alive:
            alive[tag] = _is_held(locks() / tag)
        if not alive[tag]:
            remove(namespace)
            removed.append(namespace)
    for path in locks().glob("[!.]*"):
        if not _is_held(path):
            path.unlink(missing_ok=True)
    return removed


def remove(namespace: str) -> None:
    """Kill what runs in a namespace, by pid, then remove it. One that is gone already is fine."""
    for pid in run(["ip", "netns", "pids", namespace], check=False).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run(["ip", "netns", "del", namespace], check=False)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Between making a lock file and locking it a LAN looks dead: nobody may clean then."""
    with (locks() / ".all").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
