"""One direction of a link, simulated: alone we fill it without a queue, others get it when they want it, and back."""

import math
import random

import pytest

from dfedge.throttle.policy import Policy, Profile
from dfedge.throttle.window import LEAST_PER_PEER

from .link import MBIT, Elastic, Link, Steady

FULL = 100 * MBIT


@pytest.mark.parametrize("capacity", [10 * MBIT, 100 * MBIT, 1000 * MBIT])
@pytest.mark.parametrize("peers", [1, 8])
def test_alone_the_link_is_full_and_nobody_waits_behind_us(capacity: float, peers: int) -> None:
    link = Link(capacity, peers=peers)
    link.run(20)
    assert link.mean(1, 5, 20) >= 0.97 * capacity
    smallest = peers * LEAST_PER_PEER / capacity  # two packets each are a queue of their own on a thin line
    assert link.mean(3, 5, 20) <= max(0.015, 1.05 * smallest)
    assert max(link.each(3, 5, 20)) <= max(0.025, 1.05 * smallest)  # and it does not swing


def test_another_flow_has_nine_tenths_of_the_link_from_its_third_second_on() -> None:
    link = Link()
    link.run(5)
    link.foreign = Elastic()
    link.run(10)
    assert link.mean(2, 8, 15) >= 0.9 * FULL
    assert link.mean(1, 8, 15) + link.mean(2, 8, 15) >= 0.95 * FULL


def test_when_the_other_flow_ends_we_are_back_within_five_seconds() -> None:
    link = Link()
    link.run(5)
    link.foreign = Elastic()
    link.run(10)
    link.foreign = None
    link.run(10)
    back = next(row[0] for row in link.log if row[0] > 15.5 and row[1] >= 0.9 * FULL)
    assert back <= 20
    assert min(link.each(1, back + 1, 25)) >= 0.85 * FULL


@pytest.mark.parametrize("mbit", [3, 40])
def test_beside_a_steady_flow_we_take_three_quarters_of_the_rest_and_leave_it_whole(mbit: float) -> None:
    link = Link()
    link.run(5)
    link.foreign = Steady(mbit * MBIT)
    link.run(20)
    assert link.mean(2, 10, 25) >= 0.97 * mbit * MBIT
    assert link.mean(1, 10, 25) >= 0.75 * (100 - mbit) * MBIT


def test_a_reaction_takes_half_a_second_and_does_not_fall_through_the_floor() -> None:
    link = Link()
    link.run(5)
    link.foreign = Elastic()
    link.run(10)
    first = next(row[0] for row in link.log if row[0] > 5 and row[4].rate.rate < math.inf)
    assert first <= 6.5
    assert all(row[4].rate.rate >= Policy().floor for row in link.log)


def test_a_flow_that_was_there_first_is_let_be() -> None:
    link = Link(foreign=Elastic())
    link.run(15)
    assert link.mean(2, 6, 15) >= 0.85 * FULL


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_the_counters_costs_next_to_nothing(seed: int) -> None:
    rng = random.Random(seed)
    link = Link(noise=lambda step: rng.uniform(-0.5, 0.5) * MBIT)
    link.run(30)
    assert link.mean(1, 5, 30) >= 0.95 * FULL


def test_a_burst_of_false_foreign_bytes_is_forgotten() -> None:
    link = Link(noise=lambda step: 10 * MBIT if 1000 <= step < 1060 else 0.0)
    link.run(20)
    assert link.mean(1, 15, 20) >= 0.95 * FULL


def test_without_demand_nothing_is_learnt_and_nothing_held() -> None:
    link = Link(demand=0.0, foreign=Steady(40 * MBIT))
    link.run(30)
    link.demand, link.foreign = math.inf, None
    link.run(5)
    assert link.mean(1, 2, 35) > 0
    assert link.mean(1, 33, 35) >= 0.9 * FULL


def test_the_full_profile_yields_to_nobody() -> None:
    link = Link(policy=Policy(profile=Profile.FULL))
    link.run(3)
    link.foreign = Elastic()
    link.run(5)
    assert all(row[4].rate.rate == math.inf and row[4].window is None for row in link.log)


def test_the_balanced_profile_keeps_two_fifths() -> None:
    link = Link(policy=Policy(profile=Profile.BALANCED))
    link.run(5)
    link.foreign = Elastic()
    link.run(15)
    assert link.mean(1, 10, 20) >= 0.30 * FULL


def test_the_reason_names_the_interface_and_the_rate() -> None:
    link = Link()
    link.run(5)
    link.foreign = Steady(40 * MBIT)
    link.run(8)
    assert link.share.rate.reason == "another flow on eth0 takes 40 Mbit/s"
