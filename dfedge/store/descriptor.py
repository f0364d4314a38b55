"""Open files, kept open while they are used and closed when they are many."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

MOST: Final = 64  # descriptors; a soft limit of 1,024 leaves the rest to sockets


class _Open:
    __slots__ = ("fd", "path", "stale", "users")

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path
        self.users = 0
        self.stale = False


class Descriptors:
    """A bounded set of open files by path, least recently used out first. Safe to use from worker threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._open: OrderedDict[tuple[Path, int], _Open] = OrderedDict()
        self._failed: dict[Path, OSError] = {}
        self._lock = Lock()

    @contextmanager
    def borrow(self, path: Path, flags: int = os.O_RDONLY, otherwise: Path | None = None) -> Iterator[int]:
        """Lend a descriptor for the time of the block; it is not closed under its user. Raises OSError.

        `otherwise` is where the file may have been moved to meanwhile.
        """
        try:
            entry = self._take((path, flags))
        except FileNotFoundError:
            if otherwise is None:
                raise
            entry = self._take((otherwise, flags))
        try:
            yield entry.fd
        finally:
            self._give_back(entry)

    def _take(self, key: tuple[Path, int]) -> _Open:
        with self._lock:
            entry = self._open.get(key)
            if entry is None:
                entry = _Open(os.open(key[0], key[1] | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), key[0])
                self._open[key] = entry
                self._shrink()
            else:
                self._open.move_to_end(key)
            entry.users += 1
            return entry

    def _give_back(self, entry: _Open) -> None:
        with self._lock:
            entry.users -= 1
            if entry.stale and entry.users == 0:
                self._close(entry)

    def check(self, path: Path) -> None:
        """Raise what closing this file told, once: some file systems say only then that bytes were lost."""
        with self._lock:
            error = self._failed.pop(path, None)
        if error is not None:
            raise error

    def forget(self, path: Path) -> None:
        """Close what is open of a path that was renamed or removed, once its users are done."""
        with self._lock:
            for key in [key for key in self._open if key[0] == path]:
                self._discard(key)
            self._failed.pop(path, None)  # it is synced by now, or removed

    def rest(self) -> None:
        """Close what nobody uses now."""
        with self._lock:
            for key in [key for key, entry in self._open.items() if not entry.users]:
                self._discard(key)

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            for key in list(self._open):
                self._discard(key)

    def _shrink(self) -> None:
        for key in list(self._open)[: max(0, len(self._open) - self._most)]:
            self._discard(key)

    def _discard(self, key: tuple[Path, int]) -> None:
        entry = self._open.pop(key)
        entry.stale = True
        if entry.users == 0:
            self._close(entry)

    def _close(self, entry: _Open) -> None:
        try:
            os.close(entry.fd)  # which gives the descriptor back in any case
        except OSError as error:
            self._failed[entry.path] = error
