"""A piece map marks and compares many pieces in one call as it would one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.image.piecemap import PieceMap

PIECES = st.lists(st.integers(0, 29), max_size=40)


@given(PIECES, PIECES)
def test_many_pieces_at_once_are_marked_like_one_by_one(held: list[int], more: list[int]) -> None:
    at_once, one_by_one = PieceMap(30, held), PieceMap(30, held)
    lacked = at_once.lacking(dict.fromkeys(more))
    assert at_once.add_all(more) == lacked == [piece for piece in dict.fromkeys(more) if piece not in one_by_one]
    for piece in more:
        one_by_one.add(piece)
    assert at_once == one_by_one
    assert len(at_once) == len(one_by_one)
    assert at_once.lacking(more) == []


@pytest.mark.parametrize("piece", [-1, 30])
def test_a_piece_that_the_image_does_not_have_is_not_marked(piece: int) -> None:
    with pytest.raises(IndexError):
        PieceMap(30).add_all([1, piece])
