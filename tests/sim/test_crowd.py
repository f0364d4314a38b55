"""Fleets of few neighbours each, up to ten thousand nodes; every node decides with its own Swarm."""

import math

import pytest
from bench.sim import SCENARIOS, bound
from fleetsim.crowd import Crowd

RATE = 100  # Mbit/s


def crowd_of(scenario: str, nodes: int, pieces: int = 64, seed: int = 0) -> Crowd:
    crowd = Crowd(pieces, neighbours=12 if nodes < 100 else 20, piece_bytes=1024 * 1024, seed=seed)
    SCENARIOS[scenario](crowd, nodes, RATE)
    assert crowd.run(50 * bound(crowd, RATE)), [node.id for node in crowd.takers if node.done is None]
    return crowd


def longest(crowd: Crowd) -> float:
    return max((node.done or math.inf) - node.started for node in crowd.takers) / bound(crowd, RATE)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everybody_who_stays_completes_and_little_is_sent_in_vain(scenario: str) -> None:
    crowd = crowd_of(scenario, 50)
    assert crowd.unfinished == 0
    assert all(node.swarm.complete for node in crowd.takers)
    assert crowd.control() <= 0.02
    assert crowd.waste() <= 0.05


def test_the_same_seed_replays_the_same_crowd() -> None:
    ends = [[(node.done, node.sent, node.control) for node in crowd_of("churn", 40, 32, 3).nodes] for _ in range(2)]
    assert ends[0] == ends[1]


def test_no_node_has_more_neighbours_than_it_may() -> None:
    crowd = crowd_of("churn", 60, 16)
    assert max(len(node.near) for node in crowd.nodes) <= 12


def test_all_nodes_carry_their_share() -> None:
    assert crowd_of("clean", 50).fairness() >= 0.85


def test_a_crowd_in_which_nobody_sees_more_than_a_few_is_done_near_the_bound() -> None:
    crowd = crowd_of("clean", 150, 256)
    assert longest(crowd) <= 1.16
    assert crowd.nodes[0].sent <= 1.15 * crowd.pieces
    assert crowd.waste() <= 0.01
    assert crowd.fairness() >= 0.98


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_thousand_nodes_complete_whatever_happens_to_them(scenario: str) -> None:
    crowd = crowd_of(scenario, 1_000, 256)
    assert crowd.control() <= 0.02
    assert crowd.waste() <= 0.02


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_nodes_complete_near_the_bound() -> None:
    crowd = crowd_of("clean", 10_000, 256)
    assert longest(crowd) <= 1.25
    assert crowd.control() <= 0.02
    assert crowd.waste() <= 0.02
    assert crowd.fairness() >= 0.95
