"""What a node has seen never goes back, also where a write is torn."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.trust.floor import FILES, Floors, decode_floors, encode_floors

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(0, 2**63 - 1)


def test_floors_rise_and_never_fall(tmp_path: Path) -> None:
    floors = Floors.load(tmp_path)
    assert floors.raise_to("gateway/stable", (1, 7))
    assert not floors.raise_to("gateway/stable", (1, 6))
    assert not floors.raise_to("gateway/stable", (0, 99))
    assert floors.raise_to("gateway/stable", (2, 0))
    assert Floors.load(tmp_path).get("gateway/stable") == (2, 0)
    assert Floors.load(tmp_path).get("gateway/beta") == (0, 0)


@pytest.mark.parametrize("kept", [0, 1, 4, 10, -1])
def test_a_torn_write_costs_at_most_the_newest_generation(tmp_path: Path, kept: int) -> None:
    floors = Floors.load(tmp_path)
    for number in range(1, 6):
        floors.raise_to("revocation", (0, number))
    newest = max((tmp_path / name for name in FILES), key=lambda path: decode_floors(path.read_bytes())[0])
    newest.write_bytes(newest.read_bytes()[:kept])
    again = Floors.load(tmp_path)
    assert again.get("revocation") == (0, 4)
    assert not again.broken
    again.raise_to("revocation", (0, 9))  # takes the place of the torn one, not of the good one
    assert Floors.load(tmp_path).get("revocation") == (0, 9)
    assert {decode_floors((tmp_path / name).read_bytes())[1]["revocation"][1] for name in FILES} == {4, 9}


def test_floors_that_are_lost_are_told_apart_from_floors_that_never_were(tmp_path: Path) -> None:
    assert not Floors.load(tmp_path).broken
    for name in FILES:
        (tmp_path / name).write_bytes(b"torn")
    assert Floors.load(tmp_path).broken


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader_of_floors(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"floors|canonical|spelling"):
        decode_floors(data)


@given(st.integers(1, 2**40), st.dictionaries(names, st.tuples(numbers, numbers), max_size=10))
def test_floors_are_read_as_they_were_written(generation: int, floors: dict[str, tuple[int, int]]) -> None:
    assert decode_floors(encode_floors(generation, floors)) == (generation, floors)
