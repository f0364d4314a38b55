"""What to give up when room is needed. Pure: no disk, no clock.

What *must* go makes room for bytes or inodes that are needed, whatever the size of what goes. What one *wishes* gone
brings the store near its lower watermark, never below, and never costs the image that was used last: of two images that
fit, a watermark does not take one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of disk. Inodes count too: a disk without any takes no file, however much of it is free."""

    nbytes: int
    inodes: int = 0

    def __add__(self, other: "Room") -> "Room":
        return Room(self.nbytes + other.nbytes, self.inodes + other.inodes)

    def __sub__(self, other: "Room") -> "Room":
        return Room(self.nbytes - other.nbytes, self.inodes - other.inodes)

    def covers(self, need: "Room") -> bool:
        """Whether it is enough in both respects."""
        return self.nbytes >= need.nbytes and self.inodes >= need.inodes

    def at_most(self, other: "Room") -> "Room":
        """The lesser of both, in each respect."""
        return Room(min(self.nbytes, other.nbytes), min(self.inodes, other.inodes))


NOTHING: Final = Room(0, 0)


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where eviction starts and where it stops, in per cent of what the store may hold."""

    start: int = 95
    stop: int = 85


USUAL: Final = Watermarks()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that is here, whole or in part, and what it takes."""

    image: bytes
    label: str  # name:version
    last_used: float  # seconds since 1970
    kept: str  # why it may not go: "pinned", "being served"; empty where it may
    files: tuple[tuple[bytes, int], ...]  # (digest, bytes) of each distinct file; images may share them
    own: Room = NOTHING  # what is in no shared file, such as a partial image's


@dataclass(frozen=True, slots=True)
class Eviction:
    """Something to remove, what that frees, and why it is this one."""

    image: bytes | None  # none: a leftover that belongs to no image
    label: str
    room: Room
    reason: str


@dataclass(frozen=True, slots=True)
class Evicted:
    """What went since the start, and the last of it."""

    images: int = 0
    nbytes: int = 0
    label: str = ""
    because: str = ""

    def and_one(self, one: Eviction, because: str) -> "Evicted":
        """One more."""
        return Evicted(self.images + 1, self.nbytes + one.room.nbytes, one.label, because)


def plan(images: Iterable[Candidate], must: Room, wish: int = 0) -> list[Eviction]:
    """Choose what to remove to free `must`, and up to `wish` bytes in all: least recently used first, and no more.

    What is kept is never chosen, and a file counts once the last image that has it goes. Where all there is does not
    suffice for `must`, all of it that helps is returned: the caller compares the sum (`total`).
    """
    images = list(images)
    movable = sorted((one for one in images if not one.kept), key=_age)
    chosen = _needed(images, movable, must)
    newest = max(images, key=_age, default=None)
    chosen += _wished(images, chosen, [one for one in movable if one is not newest and one not in chosen], wish)
    tally = _Tally(images)
    return [Eviction(one.image, one.label, tally.take(one), _reason(one)) for one in sorted(chosen, key=_age)]


def _needed(images: Sequence[Candidate], movable: Sequence[Candidate], need: Room) -> list[Candidate]:
    """Of `movable`, in its order, what frees `need`, or as much of it as can be."""
    need = freed(images, movable).at_most(need)
    tally = _Tally(images)
    chosen: list[Candidate] = []
    for one in movable:
        if tally.freed.covers(need):
            break
        tally.take(one)
        chosen.append(one)
    for one in reversed(chosen.copy()):  # what was chosen on the way, but turned out not to be needed, stays
        tally.put_back(one)
        if tally.freed.covers(need):
            chosen.remove(one)
        else:
            tally.take(one)
    return chosen


def _wished(
    images: Sequence[Candidate], chosen: Sequence[Candidate], movable: Sequence[Candidate], wish: int
) -> list[Candidate]:
    """Of `movable`, in its order, what may go beside `chosen` until the next would free more than `wish` bytes."""
    tally = _Tally(images)
    for one in chosen:
        tally.take(one)
    added: list[Candidate] = []
    for one in movable:
        before = tally.freed.nbytes
        tally.take(one)
        if tally.freed.nbytes > wish:
            break
        if tally.freed.nbytes == before:
            tally.put_back(one)
        else:
            added.append(one)
    return added


def freed(images: Iterable[Candidate], chosen: Iterable[Candidate]) -> Room:
    """What removing `chosen` frees, given all the images that are here."""
    tally = _Tally(images)
    for one in chosen:
        tally.take(one)
    return tally.freed


def total(evictions: Iterable[Eviction]) -> Room:
    """What a plan frees."""
    return sum((one.room for one in evictions), NOTHING)


class _Tally:
    """What is freed so far, as images are taken away and put back."""

    def __init__(self, images: Iterable[Candidate]) -> None:
        self._users = Counter(digest for one in images for digest, _ in one.files)
        self.freed = NOTHING

    def take(self, one: Candidate) -> Room:
        """Take an image away; returns what that frees."""
        gain = one.own
        for digest, nbytes in one.files:
            self._users[digest] -= 1
            if self._users[digest] == 0:
                gain += Room(nbytes, 1)
        self.freed += gain
        return gain

    def put_back(self, one: Candidate) -> None:
        """Undo the taking of an image, whichever were taken since."""
        self.freed -= one.own
        for digest, nbytes in one.files:
            if self._users[digest] == 0:
                self.freed -= Room(nbytes, 1)
            self._users[digest] += 1


def _age(one: Candidate) -> tuple[float, bytes]:
    return one.last_used, one.image


def _reason(one: Candidate) -> str:
    day = datetime.fromtimestamp(one.last_used, UTC).date().isoformat()
    return f"not pinned, not in use, and used last on {day}"
