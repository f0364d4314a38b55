"""What a fetch tells others of itself: a large fleet must not be busy with hearing how far everybody is."""

import pytest

from dfedge.jobs.fetch import announce_every


@pytest.mark.parametrize("peers", [1, 4, 8, 16, 24])
def test_a_node_hears_at_most_twice_a_second_how_far_the_others_are(peers: int) -> None:
    assert peers / announce_every(peers) <= 2.0


def test_a_few_nodes_hear_within_two_seconds_how_far_one_is() -> None:
    assert announce_every(0) == announce_every(4) == 2.0
