"""The token bucket: a cap holds on average, and lets no burst of a second through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.throttle.bucket import TokenBucket


@given(st.integers(10_000, 10**9), st.lists(st.integers(1, 262_144), min_size=5, max_size=60))
def test_a_cap_holds_whatever_the_blocks(rate: int, blocks: list[int]) -> None:
    bucket, now = TokenBucket(rate), 100.0
    for block in blocks:
        now += bucket.take(block, now)
    passed = now - 100.0
    assert sum(blocks) <= passed * rate + max(1500, rate * 0.02) + 1


def test_nothing_waits_below_the_cap() -> None:
    bucket = TokenBucket(1_000_000)
    assert all(bucket.take(1000, 10.0 + step * 0.01) == 0.0 for step in range(100))


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        TokenBucket(0)
