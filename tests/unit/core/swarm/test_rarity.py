"""The buckets agree with counting: a wrong rarity makes the last copy of a piece leave with its holder."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.swarm.bits import both, either, how_many, pieces_in, without
from dfedge.core.swarm.rarity import Rarity

COUNT = 45
MAPS = st.frozensets(st.integers(0, COUNT - 1))
STEPS = st.lists(st.tuples(st.sampled_from(["more", "fewer", "want", "unwant"]), st.integers(0, COUNT - 1)))


@given(MAPS, MAPS, st.integers(0, COUNT - 1))
def test_maps_are_sets(left: frozenset[int], right: frozenset[int], start: int) -> None:
    one, two = PieceMap(COUNT, left).encode(), PieceMap(COUNT, right).encode()
    assert list(pieces_in(one)) == sorted(left)
    assert list(pieces_in(one, start)) == sorted(piece for piece in left if piece >= start & ~7)
    assert set(pieces_in(both(one, two))) == left & right
    assert set(pieces_in(either(one, two))) == left | right
    assert set(pieces_in(without(one, two))) == left - right
    assert how_many(one) == len(left)


@given(MAPS, STEPS, MAPS, st.integers(0, 99))
def test_the_rarest_wanted_pieces_of_a_map_come_first(
    held: frozenset[int], steps: list[tuple[str, int]], shown: frozenset[int], seed: int
) -> None:
    rarity = Rarity(PieceMap(COUNT, held))
    wanted = set(range(COUNT)) - held
    copies = [0] * COUNT
    for step, piece in steps:
        getattr(rarity, step)(piece)
        copies[piece] += {"more": 1, "fewer": -1}.get(step, 0)
        wanted = wanted | {piece} if step == "want" else wanted - {piece} if step == "unwant" else wanted
    assert rarity.wanted == len(wanted)
    assert [rarity.copies(piece) for piece in range(COUNT)] == copies
    assert {piece for piece in range(COUNT) if rarity.is_wanted(piece)} == wanted
    found = rarity.rarest(PieceMap(COUNT, shown).encode(), COUNT, Random(seed))
    assert sorted(found) == sorted(shown & wanted)
    exact = [max(0, copies[piece]) for piece in found if copies[piece] <= 4]
    assert exact == sorted(exact)


def test_no_more_are_found_than_asked_for() -> None:
    rarity = Rarity(PieceMap(COUNT))
    assert len(rarity.rarest(PieceMap.full(COUNT).encode(), 7, Random(0))) == 7


def test_one_piece_picked_is_of_the_rarest_that_a_peer_shows_and_any_of_them() -> None:
    rarity = Rarity(PieceMap(30))
    rarity.more_each(range(20))
    rarity.more_each(range(10))
    rng = Random(1)
    picked = {rarity.pick(PieceMap(30, range(5, 15)).encode(), rng) for _ in range(200)}
    assert picked == set(range(10, 15))
    for piece in range(10, 15):
        rarity.unwant(piece)
    assert {rarity.pick(PieceMap(30, range(5, 15)).encode(), rng) for _ in range(200)} == set(range(5, 10))
    assert rarity.pick(PieceMap(30).encode(), rng) is None
