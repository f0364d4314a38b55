"""The rarity index: what a peer shows and we want is found, wherever the search begins."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.swarm.rarity import Rarity


@given(st.integers(1, 40), st.integers(0, 1000))
def test_no_piece_that_a_peer_shows_is_overlooked(pieces: int, seed: int) -> None:
    rarity = Rarity(PieceMap(pieces))
    found = rarity.rarest(PieceMap.full(pieces).encode(), pieces, Random(seed))
    assert sorted(found) == list(range(pieces))
