"""The SHA-256 of a whole file, taken as its pieces arrive, so that little is left to read when the last one is here."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Final

from dfedge.core.seams import Bytes

CATCH_UP: Final = 2  # pieces hashed with each new one, so that little is left to hash at the end
AHEAD: Final = 2 * 1024 * 1024  # bytes of pieces kept in memory until their turn comes


class Prefix:
    """The hash of a file's first pieces. Workers may use it at the same time: one hashes, the others leave theirs."""

    __slots__ = ("_ahead", "_hash", "_lock", "_turn", "nbytes", "pieces")

    def __init__(self) -> None:
        self._turn = Lock()  # whose it is to hash
        self._lock = Lock()  # held for what waits, never for long
        self.restart()

    def restart(self) -> None:
        """Forget it all. Waits for whoever is hashing."""
        with self._turn, self._lock:
            self._hash = hashlib.sha256()
            self.nbytes = 0
            self.pieces = 0  # how many that is
            self._ahead: dict[int, Sequence[Bytes]] = {}

    def extend(self, piece: int, blocks: Sequence[Bytes], read: Callable[[int], Sequence[Bytes] | None]) -> None:
        """Hash a proven piece if it continues the beginning, and a few after it that came earlier.

        Pieces count from the file's first. `read` gives those that are written, none where they are not; raises what
        it raises.
        """
        if not self._turn.acquire(blocking=False):
            self._leave(piece, blocks)  # what does not find room is read when its turn comes
            return
        try:
            for later in range(self.pieces, self.pieces + 1 + CATCH_UP):
                left = self._take(later)
                found = blocks if later == piece else left or read(later)
                if found is None:
                    return
                for block in found:
                    self._hash.update(block)
                    self.nbytes += len(block)
                self.pieces += 1
        finally:
            self._turn.release()

    def _leave(self, piece: int, blocks: Sequence[Bytes]) -> None:
        with self._lock:
            for past in [each for each in self._ahead if each < self.pieces]:  # it came twice, and was read meanwhile
                del self._ahead[past]
            near = self.pieces <= piece <= self.pieces + 1 + CATCH_UP
            if near and sum(map(_length, self._ahead.values()), _length(blocks)) <= AHEAD:
                self._ahead.setdefault(piece, blocks)

    def _take(self, piece: int) -> Sequence[Bytes] | None:
        with self._lock:
            return self._ahead.pop(piece, None)

    def digest(self, rest: Callable[[int], Iterable[Bytes]]) -> bytes:
        """Of the whole file, whose `rest` from an offset on is read now. Waits for whoever is hashing."""
        with self._turn:
            with self._lock:
                self._ahead.clear()
            for chunk in rest(self.nbytes):
                self._hash.update(chunk)
                self.nbytes += len(chunk)
            return self._hash.digest()


def _length(blocks: Sequence[Bytes]) -> int:
    return sum(map(len, blocks))
