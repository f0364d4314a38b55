"""A bundle's spelling: what is no bundle, or a bomb, is told before a byte of it is believed or allocated."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.image import bundle
from dfedge.core.image.bundle import RECORD, Kind, PartHeader, part_name, read_record, split_manifest

PAGE = (Path(__file__).parents[4] / "docs" / "sticks.md").read_text(encoding="utf-8")


@given(st.binary(max_size=200))
def test_no_bytes_of_a_stick_crash_the_reader(data: bytes) -> None:
    for read in (PartHeader.decode, split_manifest if len(data) >= 4 else PartHeader.decode):
        try:
            read(data)
        except ValueError:
            continue


@given(st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_no_record_is_larger_than_its_limit(kind: int, length: int) -> None:
    try:
        found, nbytes = read_record(RECORD.pack(kind, length))
    except ValueError:
        return
    assert nbytes <= bundle._MOST[found]


@pytest.mark.parametrize("kind", Kind)
def test_another_implementation_finds_every_record_with_its_limit(kind: Kind) -> None:
    assert re.search(rf"^\| {kind.value} \| `{kind.name}` \|.*\| {bundle._MOST[kind]:,} \|$", PAGE, re.M)


@pytest.mark.parametrize(("fleet", "number"), [("", 1), ("f" * 65, 1), ("f", 0), ("f", 1000)])
def test_a_part_out_of_range_cannot_exist(fleet: str, number: int) -> None:
    with pytest.raises(ValueError, match="bundle"):
        PartHeader(fleet, bytes(16), number)


def test_parts_have_names_that_fat_takes() -> None:
    names = [part_name("bundle.dfedge", number) for number in (1, 2, 999)]
    assert names == ["bundle.dfedge", "bundle.dfedge.002", "bundle.dfedge.999"]
