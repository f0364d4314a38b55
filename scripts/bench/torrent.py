"""A BitTorrent v1 metainfo file (BEP 3), the same for every BitTorrent client here."""

import hashlib
from pathlib import Path
from typing import Any, Final

PIECE: Final = 256 * 1024  # bytes; what clients choose for images of this size


def bencode(value: Any) -> bytes:
    """The one spelling of an int, bytes, str, list or dict (BEP 3)."""
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case str():
            return bencode(value.encode())
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
    raise TypeError(type(value).__name__)


def write(image: Path, torrent: Path, tracker: str = "") -> None:
    """Describe `image` in the file `torrent`."""
    hashes = []
    with image.open("rb") as file:
        while piece := file.read(PIECE):
            hashes.append(hashlib.sha1(piece).digest())
    info = {
        "length": image.stat().st_size,
        "name": image.name,
        "piece length": PIECE,
        "pieces": b"".join(hashes),
    }
    torrent.write_bytes(bencode({"info": info} | ({"announce": tracker} if tracker else {})))
