"""What to give up when room is needed. Pure: no disk, no clock."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that is here, whole or in part, and what it takes."""

    image: bytes
    label: str  # name:version
    last_used: float  # seconds since 1970
    pinned: bool
    in_use: bool  # leased, or being fetched or served
    files: tuple[tuple[bytes, int], ...]  # (digest, bytes) of each distinct file; images may share them
    own_bytes: int = 0  # bytes that are in no shared file, such as a partial image's


@dataclass(frozen=True, slots=True)
class Eviction:
    """Something to remove, what that frees, and why it is this one."""

    image: bytes | None  # none: a leftover that belongs to no image
    label: str
    nbytes: int
    reason: str


def plan(images: Iterable[Candidate], need_bytes: int) -> list[Eviction]:
    """Choose what to remove to free `need_bytes`, least recently used first, and no more than it takes.

    What is pinned or in use is never chosen, and a file counts once the last image that has it goes. Where all there
    is does not suffice, all of it is returned: the caller compares the sum.
    """
    if need_bytes <= 0:
        return []
    images = list(images)
    movable = sorted(
        (one for one in images if not one.pinned and not one.in_use), key=lambda one: (one.last_used, one.image)
    )
    tally = _Tally(images)
    chosen: list[Candidate] = []
    for one in movable:
        if tally.freed >= need_bytes:
            break
        tally.take(one)
        chosen.append(one)
    if tally.freed >= need_bytes:
        for one in reversed(chosen.copy()):  # what was chosen on the way, but turned out not to be needed, stays
            tally.put_back(one)
            if tally.freed >= need_bytes:
                chosen.remove(one)
            else:
                tally.take(one)
    again = _Tally(images)
    return [Eviction(one.image, one.label, again.take(one), _reason(one)) for one in chosen]


def freed(images: Iterable[Candidate], chosen: Iterable[Candidate]) -> int:
    """Bytes that removing `chosen` frees, given all the images that are here."""
    tally = _Tally(images)
    for one in chosen:
        tally.take(one)
    return tally.freed


class _Tally:
    """What is freed so far, as images are taken away and put back."""

    def __init__(self, images: Iterable[Candidate]) -> None:
        self._users = Counter(digest for one in images for digest, _ in one.files)
        self.freed = 0

    def take(self, one: Candidate) -> int:
        """Take an image away; returns what that frees."""
        gain = one.own_bytes
        for digest, nbytes in one.files:
            self._users[digest] -= 1
            if self._users[digest] == 0:
                gain += nbytes
        self.freed += gain
        return gain

    def put_back(self, one: Candidate) -> None:
        """Undo the taking of an image, whichever were taken since."""
        self.freed -= one.own_bytes
        for digest, nbytes in one.files:
            if self._users[digest] == 0:
                self.freed -= nbytes
            self._users[digest] += 1


def _reason(one: Candidate) -> str:
    day = datetime.fromtimestamp(one.last_used, UTC).date().isoformat()
    return f"not pinned, not in use, and used last on {day}"
