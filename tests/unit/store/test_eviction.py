"""What is given up when room is needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.store.eviction import NOTHING, Candidate, Room, freed, plan, total

FILES = st.lists(st.integers(0, 6), max_size=4, unique=True).map(lambda ns: tuple((bytes([n]), 10 + n) for n in ns))
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.binary(min_size=4, max_size=4),
        st.just("a:1"),
        st.integers(0, 9).map(float),
        st.sampled_from(["", "", "", "pinned", "being served", "running", "followed"]),
        FILES,
        st.builds(Room, st.integers(0, 50), st.integers(0, 5)),
    ),
    max_size=8,
    unique_by=lambda one: one.image,
)
NEEDS = st.builds(Room, st.integers(0, 300), st.integers(0, 20))


def image(name: str, last_used: float, *, kept: str = "", **files: int) -> Candidate:
    taken = tuple((digest.encode(), nbytes) for digest, nbytes in files.items())
    return Candidate(name.encode(), name, last_used, kept, taken)


def alike(uses: list[int]) -> list[Candidate]:
    return [Candidate(f"{when:04}".encode(), f"{when:04}", when, "", ((f"{when}".encode(), 10),)) for when in uses]


def chosen_of(images: list[Candidate], must: Room, wish: int = 0) -> list[Candidate]:
    gone = {one.image for one in plan(images, must, wish)}
    return [one for one in images if one.image in gone]


@given(CANDIDATES, NEEDS, st.integers(0, 300))
def test_what_is_pinned_running_followed_or_served_is_never_evicted(
    images: list[Candidate], must: Room, wish: int
) -> None:
    assert not any(one.kept for one in chosen_of(images, must, wish))


@given(CANDIDATES, NEEDS, st.integers(0, 300))
def test_what_a_plan_says_it_frees_is_what_it_frees(images: list[Candidate], must: Room, wish: int) -> None:
    assert total(plan(images, must, wish)) == freed(images, chosen_of(images, must, wish))


@given(CANDIDATES, NEEDS)
def test_enough_goes_or_all_that_helps_and_no_image_in_vain(images: list[Candidate], must: Room) -> None:
    chosen = chosen_of(images, must)
    gain = freed(images, chosen)
    attainable = freed(images, [one for one in images if not one.kept])
    assert gain.covers(must.at_most(attainable))
    for one in chosen:
        assert not freed(images, [other for other in chosen if other is not one]).covers(must.at_most(attainable))


@given(st.lists(st.integers(0, 1000), unique=True, max_size=9), st.integers(0, 120))
def test_of_images_alike_those_used_longest_ago_go_and_no_other(uses: list[int], need: int) -> None:
    images = alike(uses)
    gone = [one.label for one in plan(images, Room(need))]
    assert gone == [f"{when:04}" for when in sorted(uses)[: -(-need // 10)]]


@given(CANDIDATES, NEEDS, st.integers(1, 300))
def test_the_watermark_never_costs_the_image_used_last_nor_spares_what_must_go(
    images: list[Candidate], must: Room, wish: int
) -> None:
    needed = chosen_of(images, must)
    chosen = chosen_of(images, must, wish)
    assert all(one in chosen for one in needed)
    newest = max(images, key=lambda one: (one.last_used, one.image), default=None)
    assert newest in needed or newest not in chosen
    assert freed(images, chosen).nbytes <= max(wish, freed(images, needed).nbytes)


@given(st.lists(st.integers(0, 1000), unique=True, min_size=1, max_size=9), st.integers(0, 120))
def test_the_watermark_takes_small_images_up_to_the_last_that_it_may(uses: list[int], wish: int) -> None:
    images = alike(uses)
    gone = [one.label for one in plan(images, NOTHING, wish)]
    assert gone == [f"{when:04}" for when in sorted(uses)[:-1][: wish // 10]]


def test_of_two_images_that_fit_the_watermark_does_not_take_one() -> None:
    assert not plan([image("a:1", 100, a=48), image("b:1", 200, b=48)], NOTHING, 11)


def test_the_image_used_longest_ago_goes_first() -> None:
    images = [image("new:1", 300, a=10), image("old:1", 100, b=10), image("mid:1", 200, c=10)]
    assert [e.label for e in plan(images, Room(15))] == ["old:1", "mid:1"]


def test_a_small_old_image_stays_where_a_larger_one_must_go_anyway() -> None:
    images = [image("small:1", 100, a=1), image("large:1", 200, b=100)]
    assert [e.label for e in plan(images, Room(50))] == ["large:1"]


def test_a_file_that_two_images_share_is_counted_when_the_last_goes() -> None:
    images = [image("a:1", 100, shared=100, a=5), image("b:1", 200, shared=100, b=5)]
    first, second = plan(images, Room(110))
    assert (first.room, second.room) == (Room(5, 1), Room(105, 2))
    assert not plan(images, NOTHING)
    assert freed(images, [images[0]]) == Room(5, 1)


def test_an_image_that_frees_nothing_stays_though_the_disk_is_full() -> None:
    images = [image("a:1", 100, shared=100), image("b:1", 200, kept="pinned", shared=100), image("c:1", 300, c=5)]
    assert [e.label for e in plan(images, Room(1000))] == ["c:1"]


def test_a_disk_without_inodes_costs_the_image_of_many_files() -> None:
    images = [image("one:1", 100, a=1000), image("many:1", 200, b=1, c=1, d=1)]
    assert [e.label for e in plan(images, Room(0, 2))] == ["many:1"]
    assert [e.label for e in plan(images, Room(500, 4))] == ["one:1", "many:1"]


@pytest.mark.parametrize(("kept", "gone"), [("", ["a:1", "b:1"]), ("running", ["b:1"])])
def test_the_lower_watermark_is_reached_by_what_may_go(kept: str, gone: list[str]) -> None:
    images = [image("a:1", 100, kept=kept, a=10), image("b:1", 200, b=10), image("c:1", 300, c=10)]
    assert [e.label for e in plan(images, NOTHING, 20)] == gone


def test_the_reason_names_the_day_of_the_last_use() -> None:
    assert "2023-11-14" in plan([image("a:1", 1_700_000_000, a=5)], Room(1))[0].reason
