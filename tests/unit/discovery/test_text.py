"""The TXT record: what anybody on the LAN may send us under our service's name."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.seams import NodeId
from dfedge.discovery.text import MAX_TEXT, Text, decode, encode, fleet_tag

ID = NodeId("abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_TEXTS = st.builds(
    Text,
    fleet=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=8),
    id=st.text(_BASE32, min_size=52, max_size=52).map(NodeId),
    version=st.integers(1, 255),
    hint=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=128),
)


def strings(*parts: bytes) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts)


GOOD = (b"v=1", b"f=fleet234", b"i=" + ID.encode())


@given(_TEXTS)
def test_what_a_node_says_of_itself_arrives_as_it_said_it(text: Text) -> None:
    assert decode(encode(text)) == text
    assert len(encode(text)) <= MAX_TEXT


@given(st.binary(max_size=600))
def test_no_bytes_from_the_lan_crash_a_node(data: bytes) -> None:
    with suppress(ValueError):
        decode(data)


@given(_TEXTS, st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_record_is_refused_or_still_a_possible_one(text: Text, position: int, byte: int) -> None:
    data = bytearray(encode(text))
    data[position % len(data)] = byte
    with suppress(ValueError):
        assert decode(encode(decode(bytes(data)))) == decode(bytes(data))


def test_strings_of_later_versions_are_passed_over() -> None:
    assert decode(strings(*GOOD, b"x=\xff\xfe", b"flag", b"")) == Text("fleet234", ID)


def test_only_the_start_of_the_fleets_id_is_shown_to_everybody() -> None:
    assert fleet_tag("abcdefghijklmnopqrstuvwxyz234567") == "abcdefgh"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (strings(*GOOD[:2]), "lacks i"),
        (strings(*GOOD, b"i=" + ID.encode()), "says i twice"),
        (strings(*GOOD)[:-1], "cut short"),
        (strings(b"v=01", *GOOD[1:]), "not a number"),
        (strings(b"v=256", *GOOD[1:]), "it is 1 to 255"),
        (strings(GOOD[0], b"f=FLEET234", GOOD[2]), "fleet tag"),
        (strings(*GOOD[:2], b"i=" + b"1" * 52), "base32"),
        (strings(*GOOD, b"p="), ""),
        (strings(*GOOD, b"p=\x07"), "printable"),
        (bytes(MAX_TEXT + 1), "the most is"),
    ],
)
def test_a_record_that_is_not_ours_is_refused_with_the_reason(data: bytes, why: str) -> None:
    if not why:
        decode(data)
        return
    with pytest.raises(ValueError, match=why):
        decode(data)
