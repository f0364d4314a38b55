"""The token bucket: a cap holds on average, and lets no burst of a second through."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dfedge.throttle.bucket import SOON, TokenBucket


@given(st.integers(10_000, 10**9), st.lists(st.integers(1, 262_144), min_size=5, max_size=60))
@example(1_864_936, [1, 1, 1, 44_091, 1])
def test_a_cap_holds_whatever_the_blocks(rate: int, blocks: list[int]) -> None:
    bucket, now = TokenBucket(rate), 100.0
    for block in blocks:
        now += bucket.wait(now)
        bucket.spend(block, now)
    passed = now + bucket.wait(now) - 100.0
    assert sum(blocks) <= passed * rate + bucket.burst + 1 + SOON * rate


def test_nothing_waits_below_the_cap() -> None:
    bucket = TokenBucket(1_000_000)
    for step in range(100):
        assert bucket.wait(10.0 + step * 0.01) == 0.0
        bucket.spend(1000, 10.0 + step * 0.01)


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        TokenBucket(0)
    with pytest.raises(ValueError, match="nothing"):
        TokenBucket(1).change(0, 0.0)


def test_a_lower_rate_holds_at_once_and_a_higher_one_forgives_old_debt() -> None:
    bucket = TokenBucket()
    bucket.spend(10**9, 0.0)
    assert bucket.wait(0.0) == 0.0
    bucket.change(1000.0, 1.0)
    bucket.spend(500, 1.0)
    assert bucket.wait(1.0) == pytest.approx(0.5)
    bucket.spend(10**6, 1.0)
    bucket.change(10_000.0, 1.0)
    assert bucket.wait(1.0) == pytest.approx(1.0)
    bucket.change(math.inf, 1.0)
    assert bucket.wait(1.0) == 0.0
