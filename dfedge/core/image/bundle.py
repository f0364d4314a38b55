"""The bundle: images as a run of records, for where no network is. It is carried in parts that fit a FAT file system.

A part is MAGIC, a u32 length and a header in canonical msgpack, then records: kind (u8), length (u32), payload. Nothing
in it is believed: manifests are signed, pieces are proven by their digests, and a reader can stop after any record.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dfedge.core.canonical import pack, unpack
from dfedge.core.image.manifest import MAX_MANIFEST, MAX_PIECE

MAGIC: Final = b"\x89DFB\r\n\x1a\n"  # as in PNG: shows at once whether something took it for text
TYPE: Final = "dfedge-bundle"
FORMAT: Final = 1
NAME: Final = "bundle.dfedge"  # of the first part in a folder; the next are bundle.dfedge.002 and so on
BUNDLE_ID: Final = 16  # bytes that the parts of one bundle share
MAX_HEADER: Final = 1024  # bytes
MAX_PART_BYTES: Final = 4 * 1024**3 - 1  # what FAT32 takes in one file
MAX_PARTS: Final = 999
MAX_STATEMENT: Final = 64 * 1024  # bytes of a signed statement: a root or a revocation list
MAX_SIGNATURE_FILE: Final = 64 * 1024  # bytes
LENGTH: Final = struct.Struct(">I")
RECORD: Final = struct.Struct(">BI")


class Kind(IntEnum):
    """What a record holds. Numbers are never used again."""

    REVOCATION = 1  # a signed revocation list
    ROOT = 2  # a signed root
    MANIFEST = 3  # u32 length of the signature file, that file, the manifest; the pieces that follow are of it
    PIECE = 4  # u32 number, the bytes
    NEXT = 5  # nothing: it goes on in the next part
    END = 6  # nothing: the bundle is whole


_MOST: Final = {
    Kind.REVOCATION: MAX_STATEMENT,
    Kind.ROOT: MAX_STATEMENT,
    Kind.MANIFEST: LENGTH.size + MAX_SIGNATURE_FILE + MAX_MANIFEST,
    Kind.PIECE: LENGTH.size + MAX_PIECE,
    Kind.NEXT: 0,
    Kind.END: 0,
}


@dataclass(frozen=True, slots=True)
class PartHeader:
    """What stands before the records of a part. Raises ValueError where a field is out of range."""

    fleet: str
    bundle: bytes  # random; the parts of one bundle share it
    number: int  # of this part, from 1

    def __post_init__(self) -> None:
        if not 0 < len(self.fleet) <= 64 or not self.fleet.isascii():
            raise ValueError("bundle: the fleet id is missing or too long")
        if len(self.bundle) != BUNDLE_ID or type(self.number) is bool or not 1 <= self.number <= MAX_PARTS:
            raise ValueError("bundle: its id or the part's number is out of range")

    def encode(self) -> bytes:
        """Spell it, with what stands before it."""
        body = pack((TYPE, FORMAT, self.fleet, self.bundle, self.number))
        return MAGIC + LENGTH.pack(len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> "PartHeader":
        """Read what follows the length. Raises ValueError, and nothing else."""
        match unpack(body, MAX_HEADER):
            case (str(type_), int(format_), *_) if (type_, format_) != (TYPE, FORMAT):
                raise ValueError(
                    f"a {type_[:40]!r} of format {format_}, this program reads {TYPE!r} of format {FORMAT}"
                )
            case (_, _, str(fleet), bytes(bundle), int(number)):
                return cls(fleet, bundle, number)
            case _:
                raise ValueError("not the header of a bundle")


def read_record(head: bytes) -> tuple[Kind, int]:
    """Read a record's kind and length. Raises ValueError for an unknown kind or one over its limit."""
    number, length = RECORD.unpack(head)
    try:
        kind = Kind(number)
    except ValueError:
        raise ValueError(f"a record of kind {number} is not known here") from None
    least = LENGTH.size if kind in (Kind.MANIFEST, Kind.PIECE) else 0
    if not least <= length <= _MOST[kind]:
        raise ValueError(f"a {kind.name} record of {length:,} bytes; {least:,} to {_MOST[kind]:,} are allowed")
    return kind, length


def spell_manifest(raw: bytes, signature: bytes) -> bytes:
    """The payload of a MANIFEST record."""
    return LENGTH.pack(len(signature)) + signature + raw


def split_manifest(payload: bytes) -> tuple[bytes, bytes]:
    """The manifest's bytes and its signature file. Raises ValueError."""
    (length,) = LENGTH.unpack_from(payload)
    end = LENGTH.size + length
    if length > MAX_SIGNATURE_FILE or end >= len(payload):
        raise ValueError(f"a signature of {length:,} bytes in a record of {len(payload):,}")
    return payload[end:], payload[LENGTH.size : end]


def part_name(first: str, number: int) -> str:
    """The file name of part `number`; one that FAT takes if it takes the first's."""
    return first if number == 1 else f"{first}.{number:03d}"
