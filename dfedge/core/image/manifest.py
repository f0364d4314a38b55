"""The manifest: the canonical description of an image. Its SHA-256 is the image's id.

Spelling, in fixed order: ["dfedge-manifest", format, fleet, name, version, [compatible…], created, [encoding…],
[[path, size, SHA-256, media type, mode, [[piece length, count]…], piece digests]…]]. Runs of equal pieces are counted,
and digests stand in one string, so that the manifest of 20 GiB is 700 kB and costs as much memory.
"""

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

from dfedge.core.canonical import MAX_INT, Value, pack, unpack
from dfedge.core.image.name import check_name, check_no_clash, check_path, check_version
from dfedge.core.seams import ImageId

TYPE: Final = "dfedge-manifest"
FORMAT: Final = 1
MAX_MANIFEST: Final = 16 * 1024 * 1024  # bytes: 500,000 pieces
MIN_PIECE: Final = 4 * 1024  # bytes; only the last piece of a file may be shorter
MAX_PIECE: Final = 16 * 1024 * 1024  # bytes; a piece is in memory while it is proven
MAX_PIECES: Final = 500_000  # the piece map still fits one message
MAX_FILES: Final = 65_536
ENCODINGS: Final = ("raw",)
DIGEST: Final = 32  # bytes of a SHA-256


class Piece(NamedTuple):
    """A piece as its holder sees it: where it lies and what proves it."""

    file: int  # index into the manifest's files
    offset: int  # bytes from the start of that file
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an image. Raises ValueError where fields contradict each other or a limit."""

    path: str
    size: int  # bytes
    digest: bytes  # SHA-256 of the whole file
    media_type: str
    mode: int  # permission bits, without setuid, setgid and sticky
    runs: tuple[tuple[int, int], ...]  # (piece length, how many in a row)
    digests: bytes  # SHA-256 of each piece, 32 bytes apiece

    def __post_init__(self) -> None:
        check_path(self.path)
        if bool in {type(self.size), type(self.mode), *(type(n) for run in self.runs for n in run)}:
            raise ValueError(f"file {self.path!r}: true or false where a number belongs")
        if not 0 <= self.size <= MAX_INT or len(self.digest) != DIGEST:
            raise ValueError(f"file {self.path!r}: size or digest out of range")
        if len(self.media_type) > 127 or not self.media_type.isascii() or not self.media_type.isprintable():
            raise ValueError(f"file {self.path!r}: media type out of range")
        if not 0 <= self.mode <= 0o777:
            raise ValueError(f"file {self.path!r}: mode {self.mode:o} has more than permission bits")
        self._check_pieces()

    def _check_pieces(self) -> None:
        count = total = 0
        for index, (length, times) in enumerate(self.runs):
            last = index == len(self.runs) - 1 and times == 1
            if not (1 if last else MIN_PIECE) <= length <= MAX_PIECE:
                raise ValueError(
                    f"file {self.path!r}: a piece of {length:,} bytes; {MIN_PIECE:,} to {MAX_PIECE:,} are allowed"
                )
            if times < 1 or (index and length == self.runs[index - 1][0]):
                raise ValueError(f"file {self.path!r}: runs of pieces are not in their one spelling")
            count += times
            total += length * times
        if total != self.size:
            raise ValueError(f"file {self.path!r}: its pieces are {total:,} bytes, its size is {self.size:,}")
        if count > MAX_PIECES or len(self.digests) != count * DIGEST:
            raise ValueError(f"file {self.path!r}: {len(self.digests):,} bytes of digests for {count:,} pieces")

    @property
    def pieces(self) -> int:
        """How many pieces this file has."""
        return len(self.digests) // DIGEST


@dataclass(frozen=True)
class Manifest:
    """An image, described. Pieces are numbered through all files, from 0. Raises ValueError over a limit."""

    fleet: str
    name: str
    version: str
    compatible: tuple[str, ...]  # boards it is for; none means any
    created: int  # seconds since 1970, UTC
    files: tuple[FileEntry, ...]
    encodings: tuple[str, ...] = field(default=ENCODINGS)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        if not self.fleet or len(self.fleet) > 64 or not self.fleet.isascii():
            raise ValueError("manifest: the fleet id is missing or too long")
        if (
            type(self.created) is bool
            or not 0 <= self.created <= MAX_INT
            or len(self.compatible) > 64
            or any(not 0 < len(c) <= 255 for c in self.compatible)
        ):
            raise ValueError("manifest: compatible is out of range")
        if self.encodings != ENCODINGS:
            raise ValueError(f"manifest: encodings {self.encodings!r} are not known here")
        if not 1 <= len(self.files) <= MAX_FILES:
            raise ValueError(f"manifest: {len(self.files):,} files; 1 to {MAX_FILES:,} are allowed")
        check_no_clash(entry.path for entry in self.files)
        if self.pieces > MAX_PIECES:
            raise ValueError(f"manifest: {self.pieces:,} pieces, the most is {MAX_PIECES:,}")

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @cached_property
    def pieces(self) -> int:
        """How many pieces all files have."""
        return sum(entry.pieces for entry in self.files)

    @cached_property
    def first_pieces(self) -> tuple[int, ...]:
        """For each file the number of its first piece."""
        return (0, *accumulate(entry.pieces for entry in self.files))[:-1]

    @cached_property
    def _runs(self) -> tuple[list[int], list[tuple[int, int, int]]]:
        """Where each run starts (piece number), and its (file, offset of its first piece, piece length)."""
        starts: list[int] = []
        runs: list[tuple[int, int, int]] = []
        number = 0
        for index, entry in enumerate(self.files):
            offset = 0
            for length, times in entry.runs:
                starts.append(number)
                runs.append((index, offset, length))
                number += times
                offset += length * times
        return starts, runs

    @cached_property
    def lengths(self) -> Sequence[int]:
        """How long each piece is, in bytes."""
        return array("I", (length for entry in self.files for length, times in entry.runs for _ in range(times)))

    def piece(self, number: int) -> Piece:
        """Say where piece `number` lies and what proves it. Raises IndexError."""
        if not 0 <= number < self.pieces:
            raise IndexError(f"piece {number} of {self.pieces}")
        starts, runs = self._runs
        at = bisect_right(starts, number) - 1
        file, offset, length = runs[at]
        within = number - self.first_pieces[file]
        digest = self.files[file].digests[within * DIGEST : (within + 1) * DIGEST]
        return Piece(file, offset + (number - starts[at]) * length, length, digest)

    def encode(self) -> bytes:
        """Spell the manifest; the SHA-256 of this is the image's id. Raises ValueError over the limit."""
        files = tuple((e.path, e.size, e.digest, e.media_type, e.mode, e.runs, e.digests) for e in self.files)
        head = (TYPE, FORMAT, self.fleet, self.name, self.version, self.compatible, self.created, self.encodings)
        data = pack((*head, files))
        if len(data) > MAX_MANIFEST:
            raise ValueError(f"manifest of {len(data):,} bytes, the most is {MAX_MANIFEST:,}; use larger pieces")
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Read a manifest whose signature has been verified. Raises ValueError, and nothing else."""
        match unpack(data, MAX_MANIFEST):
            case (str(type_), int(format_), *_) if (type_, format_) != (TYPE, FORMAT):
                raise ValueError(f"a {type_!r} of format {format_}, this program reads {TYPE!r} of format {FORMAT}")
            case (
                _,
                _,
                str(fleet),
                str(name),
                str(version),
                tuple(compatible),
                int(created),
                tuple(encodings),
                tuple(files),
            ):
                entries = tuple(_entry(row) for row in files[: MAX_FILES + 1])
                manifest = cls(fleet, name, version, _strings(compatible), created, entries, _strings(encodings))
            case _:
                raise ValueError("not a manifest")
        if manifest.encode() != data:
            raise ValueError("manifest is not in its one spelling")
        return manifest


def image_id(manifest: bytes) -> ImageId:
    """Name the image that these manifest bytes describe."""
    return ImageId(hashlib.sha256(manifest).digest())


def _strings(values: tuple[Value, ...]) -> tuple[str, ...]:
    if not all(type(value) is str for value in values):
        raise ValueError("manifest: a list of names holds something else")
    return tuple(str(value) for value in values)


def _entry(row: Value) -> FileEntry:
    match row:
        case (str(path), int(size), bytes(digest), str(media), int(mode), tuple(runs), bytes(digests)):
            return FileEntry(path, size, digest, media, mode, tuple(_run(run) for run in runs), digests)
        case _:
            raise ValueError("manifest: a file entry has other fields")


def _run(run: Value) -> tuple[int, int]:
    match run:
        case (int(length), int(times)):
            return length, times
        case _:
            raise ValueError("manifest: a run of pieces has other fields")
