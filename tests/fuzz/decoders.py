"""Everything that reads bytes which others wrote, each as one call that only a mistake of ours makes raise."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dfedge.core.canonical import pack
from dfedge.core.errors import ProtocolError, Untrusted
from dfedge.core.image.manifest import FileEntry, Manifest
from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import ImageId, NodeId
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame, Kind
from dfedge.discovery import text
from dfedge.node import controlframe
from dfedge.node.config import SETTINGS
from dfedge.node.configfile import read_file
from dfedge.store import journal
from dfedge.trust.identity import fleet_of_raw_key
from dfedge.trust.record import NodeRecord, decode_record
from dfedge.trust.revocation import decode_revocation
from dfedge.trust.root import Root, decode_root

ID: Final = NodeId("a" * 52)
IMAGE: Final = ImageId(b"i" * 32)
CA: Final = b"c" * 32
MANIFEST: Final = Manifest(
    "f" * 32, "gateway/os", "2.4.1", ("board=x",), 1_700_000_000,
    (FileEntry("a/b", 70_000, b"d" * 32, "application/octet-stream", 0o644, ((65536, 1), (4464, 1)), b"p" * 64),),
)  # fmt: skip


def message(data: bytes) -> None:
    """A message of the control channel."""
    with contextlib.suppress(ProtocolError):
        assert codec.encode(codec.decode(data)) == data


def stream(data: bytes) -> None:
    """The bytes of the control channel, cut anywhere: the first byte says where."""
    step = max(1, data[0]) if data else 1
    whole, cut = codec.Splitter(), codec.Splitter()
    heard: list[list[m.Message]] = [[], []]
    with contextlib.suppress(ProtocolError):
        heard[0].extend(whole.feed(data[1:]))
    with contextlib.suppress(ProtocolError):
        for at in range(1, len(data), step):
            heard[1].extend(cut.feed(data[at : at + step]))
    assert len(heard[1]) >= len(heard[0]) and heard[1][: len(heard[0])] == heard[0]


def frame(data: bytes) -> None:
    """A header of the bulk channel."""
    with contextlib.suppress(ProtocolError):
        assert Frame.decode(data).encode() == data


def piece_map(data: bytes) -> None:
    """A piece map; the first byte says of how many pieces."""
    with contextlib.suppress(ValueError):
        pieces = PieceMap.decode(data[0] if data else 0, data[1:])
        assert pieces.encode() == data[1:] and len(list(pieces)) == len(pieces)


def manifest(data: bytes) -> None:
    """A manifest."""
    with contextlib.suppress(ValueError):
        made = Manifest.decode(data)
        assert made.encode() == data
        assert sum(made.lengths) == made.size and len(made.lengths) == made.pieces


def journal_of(data: bytes) -> None:
    """The journal of a partial image, after whatever a power cut or a rotten card did to it."""
    for start in (b"", journal.encode_header(IMAGE, 100)):
        reading = journal.decode(start + data, IMAGE, 100)
        assert all(0 <= piece < 100 for piece in reading.pieces)


def record(data: bytes) -> None:
    """The body of a node record."""
    with contextlib.suppress(ValueError):
        assert decode_record(data).encode() == data


def revocation(data: bytes) -> None:
    """The body of a revocation list."""
    with contextlib.suppress(ValueError):
        assert decode_revocation(data).encode() == data


def root(data: bytes) -> None:
    """The body of a root."""
    with contextlib.suppress(ValueError, Untrusted):
        assert decode_root(data).encode() == data


def config(data: bytes) -> None:
    """A settings file."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        found, errors = read_file(Path(file.name), SETTINGS)
    assert all(str(error).startswith(file.name) for error in errors)
    assert set(found) <= set(SETTINGS)


def control(data: bytes) -> None:
    """A frame of the control socket."""
    if len(data) >= 4:
        with contextlib.suppress(ValueError):
            controlframe.body_length(data[:4])
    with contextlib.suppress(ValueError):
        document = controlframe.decode(data[4:])
        assert isinstance(document, dict)


def txt(data: bytes) -> None:
    """The TXT record of a node."""
    with contextlib.suppress(ValueError):
        read = text.decode(data)
        assert text.decode(text.encode(read)) == read


DECODERS: Final[dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]]] = {
    "message": (
        message,
        tuple(
            codec.encode(each)
            for each in (
                m.Hello(1, b"b" * 16, "f", 7411, 3, "dfedge", b"r", b"l"),
                m.Catalogue((m.Entry(IMAGE, "n", "1", 1, 5, 5),)),
                m.ManifestPart(IMAGE, 0, 1, b"s", b"x"),
                m.Join(1, IMAGE, True, b"\xff"),
                m.Have(1, False, (1, 2, 300)),
                m.Contacts((m.Contact(b"r", "10.0.0.1", 7411),)),
                m.Seek(b"q" * 8, 2, "n", "1", "ab"),
                m.Bye("corrupt", "why"),
            )
        ),
    ),
    "stream": (stream, (b"\x07" + codec.frame(m.Ping(1)) + codec.frame(m.Have(1, True, (4,))),)),
    "frame": (frame, (Frame(Kind.REQUEST, 1, 2, 3, 0, 65536).encode(), Frame(Kind.BLOCK, 1, 2, 3, 65536, 1).encode())),
    "piece_map": (piece_map, (b"\x0c\xff\xf0", b"\x08\x81")),
    "manifest": (manifest, (MANIFEST.encode(),)),
    "journal": (journal_of, (journal.encode_records(IMAGE, [1, 2, 99]),)),
    "record": (record, (NodeRecord("f" * 32, ID, "kiosk-07", (("site", "hall-2"),), 1, 5, 9).encode(),)),
    "revocation": (revocation, (pack(("dfedge-revocation", 1, "f" * 32, 7, 5, b"\1" * 32 + b"\2" * 32)),)),
    "root": (
        root,
        (Root(fleet_of_raw_key(CA), "x", 1, 5, (CA,), ()).encode(),),
    ),
    "config": (
        config,
        (b'[node]\nlisten = ":7411"\n[discovery]\npeers = ["192.0.2.7:7411"]\n[store]\nquota = "1 GiB"\n',),
    ),
    "control": (control, (controlframe.encode({"verb": "status", "params": {}, "fds": 0}),)),
    "txt": (txt, (text.encode(text.Text("fleet234", ID)),)),
}
