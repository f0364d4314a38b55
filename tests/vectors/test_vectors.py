"""Stored bytes: a node of another version, or another program, must read and write the very same."""

import json
from pathlib import Path
from typing import Final

import pytest

from dfedge.core.image.bundle import LENGTH, RECORD, PartHeader, read_record, spell_manifest, split_manifest
from dfedge.core.image.bundle import Kind as RecordKind
from dfedge.core.image.cutter import cut
from dfedge.core.image.manifest import FileEntry, Manifest, image_id
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import Frame, Kind

STORED: Final[dict[str, str]] = json.loads((Path(__file__).parent / "vectors.json").read_text())
ID: Final = bytes(range(32))

MESSAGES: Final[dict[str, m.Message]] = {
    "hello": m.Hello(1, bytes(range(16)), "a" * 32, 7411, 5, "dfedge 0.1.0", b"record", b"list"),
    "revoked": m.Revoked(b"list"),
    "catalogue": m.Catalogue((m.Entry(ID, "gateway/os", "2.4.1", 1_700_000_000, 5000, 4096),)),
    "dropped": m.Dropped((ID,)),
    "ask_manifest": m.AskManifest(ID, 49152),
    "manifest_part": m.ManifestPart(ID, 0, 4, b"sig", b"data"),
    "join": m.Join(3, ID, True, b"\xff\x80"),
    "leave": m.Leave(3),
    "have": m.Have(3, False, (0, 127, 128, 70_000)),
    "lost": m.Lost(3, (9,)),
    "choke": m.Choke(3),
    "unchoke": m.Unchoke(3),
    "bad": m.Bad(3, 17),
    "cancel": m.Cancel(3, 17),
    "ping": m.Ping(2**32 - 1),
    "pong": m.Pong(0),
    "warn": m.Warn("é"),
    "contacts": m.Contacts((m.Contact(b"record", "192.0.2.7", 7411), m.Contact(b"other", "2001:db8::7", 7412))),
    "seek": m.Seek(bytes(range(8)), 2, "gateway/os", "2.4.1", ""),
    "found": m.Found(bytes(range(8)), (m.Holder(b"record", "192.0.2.7", 7411, ID, "gateway/os", "2.4.1", 5000, 4096),)),
    "strained": m.Strained(0, 37),
    "bye": m.Bye("busy", "connected already"),
}
MANIFEST: Final = Manifest(
    "a" * 32,
    "gateway/os",
    "2.4.1",
    ("board-x",),
    1_700_000_000,
    (
        FileEntry("boot/kernel", 150_000, ID, "application/octet-stream", 0o644, cut(150_000, 65536), bytes(96)),
        FileEntry("empty", 0, ID[::-1], "application/octet-stream", 0o755, (), b""),
    ),
)
FRAME: Final = Frame(Kind.BLOCK, 3, 77, 17, 65536, 1000)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_keeps_its_spelling(name: str) -> None:
    assert codec.encode(MESSAGES[name]).hex() == STORED[name]
    assert codec.decode(bytes.fromhex(STORED[name])) == MESSAGES[name]


def test_every_message_has_a_vector() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(m.Message.__args__)


def test_a_manifest_keeps_its_spelling_and_so_its_id() -> None:
    assert MANIFEST.encode().hex() == STORED["manifest"]
    assert Manifest.decode(bytes.fromhex(STORED["manifest"])) == MANIFEST
    assert image_id(MANIFEST.encode()).hex() == STORED["manifest_id"]


def test_a_frame_keeps_its_spelling() -> None:
    assert FRAME.encode().hex() == STORED["frame"]
    assert Frame.decode(bytes.fromhex(STORED["frame"])) == FRAME


def test_a_bundle_keeps_its_spelling() -> None:
    header = PartHeader("a" * 32, bytes(range(16)), 2).encode()
    payload = spell_manifest(b"manifest", b"signature")
    records = [
        RECORD.pack(RecordKind.MANIFEST, len(payload)) + payload,
        RECORD.pack(RecordKind.PIECE, 9) + LENGTH.pack(17) + b"bytes",
        RECORD.pack(RecordKind.END, 0),
    ]
    assert (header + b"".join(records)).hex() == STORED["bundle"]
    assert PartHeader.decode(header[12:]) == PartHeader("a" * 32, bytes(range(16)), 2)
    assert split_manifest(payload) == (b"manifest", b"signature")
    assert read_record(records[1][:5]) == (RecordKind.PIECE, 9)
