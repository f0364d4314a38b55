"""Manifests: a hostile one is refused before anything is allocated for it."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.canonical import pack, unpack
from dfedge.core.image.cutter import LARGEST, SMALLEST, cut, piece_size
from dfedge.core.image.manifest import MAX_MANIFEST, MAX_PIECE, FileEntry, Manifest
from dfedge.core.image.piecemap import PieceMap

DIGEST = b"d" * 32


def entry(path: str = "a", size: int = 150_000, length: int = 65536) -> FileEntry:
    runs = cut(size, length)
    return FileEntry(path, size, DIGEST, "application/octet-stream", 0o644, runs, b"p" * 32 * sum(n for _, n in runs))


def manifest(*files: FileEntry) -> Manifest:
    return Manifest("f" * 32, "gateway", "1", (), 1_700_000_000, files or (entry(),))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "a\x00b",
        "a\nb",
        "a\\b",
        "e\u0301",
        "x" * 256,
        "a/" * 2048 + "a",
    ],
)
def test_a_path_that_could_leave_its_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        entry(path)


@pytest.mark.parametrize("paths", [("a", "A"), ("a", "a/b"), ("straße", "STRASSE"), ("b/c", "B")])
def test_paths_that_clash_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"clash|also a folder"):
        manifest(*(entry(path) for path in paths))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 149_999),
        ("size", -1),
        ("mode", 0o4755),
        ("digest", b"short"),
        ("digests", b"p" * 64),
        ("runs", ((65536, 1), (65536, 1), (18928, 1))),
        ("runs", ((150_000, 0),)),
        ("runs", ((1000, 150),)),
        ("runs", ((MAX_PIECE + 1, 1),)),
        ("runs", ((True, 1),)),
        ("media_type", "x\n"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="file 'a'"):
        replace(entry(), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Gateway"),
        ("name", "../x"),
        ("version", ""),
        ("fleet", ""),
        ("files", ()),
        ("encodings", ("zstd",)),
        ("created", True),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(manifest(), **{field: value})  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert Manifest.decode(data).encode() == data


@given(st.data())
def test_no_change_of_a_field_can_be_read_two_ways(data: st.DataObject) -> None:
    value = unpack(manifest().encode(), MAX_MANIFEST)
    assert isinstance(value, tuple)
    index = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.just(()))
    changed = pack((*value[:index], other, *value[index + 1 :]))
    with contextlib.suppress(ValueError):
        assert Manifest.decode(changed).encode() == changed


def test_offsets_follow_without_gap_through_all_files() -> None:
    made = manifest(entry("a", 150_000), entry("b", 0), entry("c", 70_000))
    seen = [made.piece(number) for number in range(made.pieces)]
    assert [(p.file, p.offset, p.length) for p in seen] == [
        (0, 0, 65536), (0, 65536, 65536), (0, 131072, 18928), (2, 0, 65536), (2, 65536, 4464),
    ]  # fmt: skip
    with pytest.raises(IndexError):
        made.piece(made.pieces)


def test_the_manifest_of_twenty_gib_stays_small() -> None:
    size = 20 * 1024**3
    length = piece_size(size, 16)
    assert len(manifest(entry("big", size, length)).encode()) < 1_000_000


@given(st.integers(0, 2**40), st.integers(1, 10_000))
def test_pieces_are_small_for_fleets_and_never_too_many(size: int, nodes: int) -> None:
    length = piece_size(size, nodes)
    assert length & (length - 1) == 0
    assert SMALLEST <= length <= MAX_PIECE
    assert sum(count for _, count in cut(size, length)) <= 250_001
    assert length <= LARGEST or size // length > 100_000


@pytest.mark.parametrize(
    ("mib", "takers", "kib"),
    [(1, 0, 64), (16, 32, 128), (64, 8, 256), (64, 16, 256), (64, 17, 128), (64, 1000, 128), (20_480, 8, 1024)],
)
def test_pieces_cost_a_fleet_few_words_and_little_waiting(mib: int, takers: int, kib: int) -> None:
    """Half as long, sixteen nodes took 1.7 times the CPU; twice as long, a piece waits too long to be passed on."""
    assert piece_size(mib * 1024**2, takers) == kib * 1024


@given(st.integers(0, 100), st.data())
def test_a_piece_map_says_what_is_held(count: int, data: st.DataObject) -> None:
    held = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=count)) if count else set()
    pieces = PieceMap(count, held)
    assert set(pieces) == held
    assert set(pieces.missing()) == set(range(count)) - held
    assert len(pieces) == len(held)
    assert PieceMap.decode(count, pieces.encode()) == pieces
    assert pieces.complete == (len(held) == count)


def test_a_piece_map_with_spare_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        PieceMap.decode(7, b"\x01")
    with pytest.raises(ValueError, match="bytes"):
        PieceMap.decode(9, b"\x00")
