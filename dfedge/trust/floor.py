"""Floors: the highest numbers this node has seen of signed things. They never go back, also across a power cut.

Two files, floors.a and floors.b, are written in turn and fsynced; each holds all floors, a generation and a CRC, so a
torn write costs one generation. File: u32 CRC-32 (big-endian) + canonical msgpack ["dfedge-floors", 1, generation,
[[name, epoch, sequence]…]].
"""

import os
import zlib
from pathlib import Path
from typing import Final

from dfedge.core.canonical import MAX_INT, Value, pack, unpack
from dfedge.core.errors import DfedgeError, NotFound
from dfedge.trust import file

FILES: Final = ("floors.a", "floors.b")
TYPE: Final = "dfedge-floors"
FORMAT: Final = 1
MAX_FLOORS: Final = 4_096
MAX_FLOOR_NAME: Final = 300  # characters; a channel has at most 255
MAX_BYTES: Final = 1024 * 1024
CRC: Final = 4  # bytes
ZERO: Final = (0, 0)

Floor = tuple[int, int]  # epoch, sequence


def root_floor(fleet: str) -> str:
    """Name the floor of a fleet's root version; a node may join another fleet, whose numbers start anew."""
    return f"root/{fleet}"


def revocation_floor(fleet: str) -> str:
    """Name the floor of a fleet's revocation sequence."""
    return f"revocation/{fleet}"


class Floors:
    """Name → (epoch, sequence), kept in a folder. One writer at a time."""

    def __init__(self, folder: Path, generation: int, floors: dict[str, Floor], *, broken: bool) -> None:
        self._folder = folder
        self._generation = generation
        self._floors = floors
        self._kept = True  # what is in memory is in a file
        self._sure = False  # that file would be there after a power cut too
        self.broken = broken
        """Whether there were files and none could be read: the floors have started anew."""

    @classmethod
    def load(cls, folder: Path) -> "Floors":
        """Read the newest valid of the two files. A broken one is ignored; see `broken`."""
        found: list[tuple[int, dict[str, Floor]]] = []
        damaged = False
        for name in FILES:
            try:
                found.append(decode_floors(file.read(folder / name, MAX_BYTES)))
            except NotFound:
                continue
            except (ValueError, DfedgeError):
                damaged = True
        generation, floors = max(found, key=lambda pair: pair[0], default=(0, {}))
        return cls(folder, generation, floors, broken=damaged and not found)

    def get(self, name: str) -> Floor:
        """The floor of that name; (0, 0) where none was seen."""
        return self._floors.get(name, ZERO)

    def raise_to(self, name: str, floor: Floor) -> bool:
        """Raise one floor and sync it to disk before returning; false says it was as high already.

        Raises NoSpace, Refused or Corrupt when the disk fails; the floor is raised in memory all the same.
        """
        return self.raise_all({name: floor})

    def raise_all(self, floors: dict[str, Floor]) -> bool:
        """Raise several floors in one write; also writes what an earlier one could not. Raises as `raise_to`."""
        higher = {name: floor for name, floor in floors.items() if floor > self.get(name)}
        if not higher and self._kept:
            return False
        self._floors |= higher
        self._kept = False
        self._write()
        self._kept = True
        return bool(higher)

    def _write(self) -> None:
        if not self._sure:
            self._make_sure()
        generation = self._generation + 1
        path = self._folder / FILES[generation % 2]
        data = encode_floors(generation, self._floors)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, file.PRIVATE), "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if generation <= 2:  # the file is new in its folder
                file.sync_folder(self._folder)
        except OSError as error:
            raise file.told(error, path) from error
        self._generation = generation

    def _make_sure(self) -> None:
        """Sync what an earlier process may have left unsynced, before its other file is written over."""
        newest = self._folder / FILES[self._generation % 2]
        try:
            if self._generation:
                fd = os.open(newest, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
                file.sync_folder(self._folder)
        except OSError as error:
            raise file.told(error, newest) from error
        self._sure = True


def encode_floors(generation: int, floors: dict[str, Floor]) -> bytes:
    """Spell one of the two files. Raises ValueError over a limit."""
    if len(floors) > MAX_FLOORS:
        raise ValueError(f"{len(floors):,} floors, the most is {MAX_FLOORS:,}")
    rows: tuple[Value, ...] = tuple((name, *floors[name]) for name in sorted(floors))
    body = pack((TYPE, FORMAT, generation, rows))
    return zlib.crc32(body).to_bytes(CRC, "big") + body


def decode_floors(data: bytes) -> tuple[int, dict[str, Floor]]:
    """Read one of the two files: its generation and floors. Raises ValueError, and nothing else."""
    crc, body = data[:CRC], data[CRC:]
    if zlib.crc32(body).to_bytes(CRC, "big") != crc:
        raise ValueError("floors: checksum does not match")
    match unpack(body, MAX_BYTES):
        case (str(type_), int(format_), int(generation), tuple(rows)) if (type_, format_) == (TYPE, FORMAT):
            if generation < 1 or len(rows) > MAX_FLOORS:
                raise ValueError("floors: out of range")
            return generation, dict(_row(row) for row in rows)
        case _:
            raise ValueError("floors: other fields")


def _row(row: Value) -> tuple[str, Floor]:
    match row:
        case (str(name), int(epoch), int(sequence)):
            if len(name) > MAX_FLOOR_NAME or not 0 <= epoch <= MAX_INT or not 0 <= sequence <= MAX_INT:
                raise ValueError("floors: a row is out of range")
            return name, (epoch, sequence)
        case _:
            raise ValueError("floors: a row has other fields")
