"""The wire: nothing that a peer sends crashes a node or can be read in two ways."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.canonical import pack
from dfedge.core.errors import ProtocolError
from dfedge.core.wire import codec
from dfedge.core.wire import message as m
from dfedge.core.wire.frame import HEADER, MAX_BLOCK, Frame, Kind

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_no_bytes_from_a_peer_crash_a_node_or_can_be_read_two_ways(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert codec.encode(codec.decode(data)) == data


@given(st.integers(0, 23), st.lists(VALUES, max_size=7))
def test_no_fields_of_other_types_pass(tag: int, fields: list[object]) -> None:
    with contextlib.suppress(ProtocolError):
        message = codec.decode(pack((tag, *fields)))  # type: ignore[arg-type]
        assert codec.decode(codec.encode(message)) == message


@given(st.binary(min_size=HEADER, max_size=HEADER))
def test_no_header_crashes_a_node_or_asks_for_more_than_a_block(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        frame = Frame.decode(data)
        assert frame.encode() == data
        assert 0 < frame.length <= MAX_BLOCK


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), st.integers(1, 9))
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(nonces: list[int], step: int) -> None:
    stream = b"".join(codec.frame(m.Ping(nonce)) for nonce in nonces)
    splitter = codec.Splitter()
    heard = [msg for at in range(0, len(stream), step) for msg in splitter.feed(stream[at : at + step])]
    assert heard == [m.Ping(nonce) for nonce in nonces]


def test_a_message_over_the_limit_is_refused_before_it_is_buffered() -> None:
    splitter = codec.Splitter()
    with pytest.raises(ProtocolError, match="the most is"):
        list(splitter.feed((m.MAX_MESSAGE + 1).to_bytes(4, "big")))


def test_a_piece_map_of_the_largest_image_fits_one_message() -> None:
    codec.encode(m.Join(0, bytes(32), False, bytes(62_500)))


@given(st.integers(-(2**63), 2**64 - 1), st.integers(-(2**63), 2**64 - 1))
def test_no_peer_can_talk_us_into_a_longer_queue_than_the_bound(up: int, down: int) -> None:
    with contextlib.suppress(ProtocolError):
        message = codec.decode(pack((22, up, down)))
        assert message == m.Strained(up, down)
        assert 0 <= min(up, down) <= max(up, down) <= 50


@pytest.mark.parametrize("length", [0, MAX_BLOCK + 1])
def test_a_block_has_bytes_and_bounds(length: int) -> None:
    with pytest.raises(ValueError, match="block"):
        Frame(Kind.REQUEST, 0, 0, 0, 0, length)
