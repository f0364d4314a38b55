"""What the journal vouches for after a power cut."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.seams import ImageId
from dfedge.store.journal import HEADER, RECORD, Journal, decode, encode_header, encode_records

IMAGE = ImageId(b"i" * 32)
OTHER = ImageId(b"o" * 32)
PIECES = st.lists(st.integers(0, 99), max_size=40)


@given(PIECES)
def test_a_journalled_piece_is_still_known_after_a_restart(pieces: list[int]) -> None:
    reading = decode(encode_header(IMAGE, 100) + encode_records(IMAGE, pieces), IMAGE, 100)
    assert reading.pieces == set(pieces) and reading.intact


@given(PIECES, st.integers(0, 400))
def test_a_torn_journal_never_vouches_for_a_piece_that_was_not_recorded(pieces: list[int], length: int) -> None:
    data = (encode_header(IMAGE, 100) + encode_records(IMAGE, pieces))[:length]
    reading = decode(data, IMAGE, 100)
    assert reading.pieces == set(pieces[: max(0, len(data) - HEADER) // RECORD])


@given(PIECES, st.integers(0, 2000), st.integers(1, 255))
def test_a_flipped_bit_loses_pieces_but_never_invents_one(pieces: list[int], at: int, flip: int) -> None:
    data = bytearray(encode_header(IMAGE, 100) + encode_records(IMAGE, pieces))
    data[at % len(data)] ^= flip
    reading = decode(bytes(data), IMAGE, 100)
    assert reading.pieces <= set(pieces) and not reading.intact


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read_as_a_journal_without_a_crash(data: bytes) -> None:
    decode(encode_header(IMAGE, 100) + data, IMAGE, 100)
    decode(data, IMAGE, 100)


def test_the_journal_of_another_image_vouches_for_nothing() -> None:
    assert not decode(encode_header(OTHER, 9) + encode_records(OTHER, [1]), IMAGE, 9).pieces
    assert not decode(encode_header(IMAGE, 9) + encode_records(OTHER, [1]), IMAGE, 9).pieces


def test_records_written_after_a_torn_tail_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(encode_header(IMAGE, 9) + encode_records(IMAGE, [1, 2])[:-3])
    journal = Journal(path, IMAGE, 9)
    assert journal.read() == {1}
    journal.append([5])
    assert journal.read() == {1, 5}
    journal.rewrite([7])
    assert Journal(path, IMAGE, 9).read() == {7}
