"""What is given up when room is needed."""

from hypothesis import given
from hypothesis import strategies as st

from dfedge.store.eviction import Candidate, freed, plan

FILES = st.lists(st.integers(0, 6), max_size=4, unique=True).map(lambda ns: tuple((bytes([n]), 10 + n) for n in ns))
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.binary(min_size=4, max_size=4),
        st.just("a:1"),
        st.integers(0, 9).map(float),
        st.booleans(),
        st.booleans(),
        FILES,
        st.integers(0, 50),
    ),
    max_size=8,
    unique_by=lambda one: one.image,
)


def image(name: str, last_used: float, *, pinned: bool = False, in_use: bool = False, **files: int) -> Candidate:
    taken = tuple((digest.encode(), nbytes) for digest, nbytes in files.items())
    return Candidate(name.encode(), name, last_used, pinned, in_use, taken)


@given(CANDIDATES, st.integers(0, 300))
def test_a_pinned_or_used_image_is_never_evicted_and_no_image_in_vain(images: list[Candidate], need: int) -> None:
    chosen = [one for one in images if one.image in {e.image for e in plan(images, need)}]
    assert not any(one.pinned or one.in_use for one in chosen)
    gain = freed(images, chosen)
    assert gain == sum(e.nbytes for e in plan(images, need))
    if gain >= need:
        for one in chosen:
            assert freed(images, [other for other in chosen if other is not one]) < need
    else:
        assert len(chosen) == sum(not one.pinned and not one.in_use for one in images)


def test_the_image_used_longest_ago_goes_first() -> None:
    images = [image("new:1", 300, a=10), image("old:1", 100, b=10), image("mid:1", 200, c=10)]
    assert [e.label for e in plan(images, 15)] == ["old:1", "mid:1"]


def test_a_small_old_image_stays_where_a_larger_one_must_go_anyway() -> None:
    images = [image("small:1", 100, a=1), image("large:1", 200, b=100)]
    assert [e.label for e in plan(images, 50)] == ["large:1"]


def test_a_file_that_two_images_share_is_counted_when_the_last_goes() -> None:
    images = [image("a:1", 100, shared=100, a=5), image("b:1", 200, shared=100, b=5)]
    first, second = plan(images, 110)
    assert (first.nbytes, second.nbytes) == (5, 105)
    assert not plan(images, 0)
    assert freed(images, [images[0]]) == 5


def test_the_reason_names_the_day_of_the_last_use() -> None:
    assert "2023-11-14" in plan([image("a:1", 1_700_000_000, a=5)], 1)[0].reason
