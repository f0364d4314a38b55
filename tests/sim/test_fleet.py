"""What a fleet gets of its links, simulated with the node's own Swarm: ratios to the bound, which are deterministic."""

from random import Random

import pytest
from fleetsim.fleet import Fleet, Kind, Link, Node, lan, sparse

from dfedge.core.image.piecemap import PieceMap

PIECES = 512
RATE = 100  # Mbit/s
FAST = Link.mbit(RATE)
SLOW = Link.mbit(10)


def bound(fleet: Fleet, rate: float = RATE) -> float:
    """Seconds that the image takes on one link: nobody can be done before."""
    return fleet.image_bytes / (rate * 1e6 / 8)


def fleet_of(seeds: int = 1, seed: int = 0, **policy: float) -> Fleet:
    fleet = Fleet(PIECES, seed=seed)
    for number in range(seeds):
        fleet.add(f"s{number}", FAST, PieceMap.full(PIECES))
    return fleet


def crowd(fleet: Fleet, count: int, link: Link = FAST, kind: Kind = Kind.HONEST, name: str = "n") -> list[Node]:
    return [fleet.add(f"{name}{number}", link, kind=kind) for number in range(count)]


def took(node: Node) -> float:
    assert node.done is not None, f"{node.name} holds {node.swarm.holds}: {node.swarm.held_back(node.fleet.clock.now)}"
    return node.done - node.started


@pytest.mark.parametrize(("nodes", "most"), [(1, 1.01), (2, 1.03), (3, 1.04), (8, 1.06), (16, 1.10)])
def test_a_fleet_on_one_lan_is_done_when_its_links_allow(nodes: int, most: float) -> None:
    fleet = lan(nodes, PIECES)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= most * bound(fleet)
    assert fleet.seed_copies() <= 1.05
    assert fleet.waste() < 0.01


@pytest.mark.parametrize("rate", [2, 10, 1000])
def test_no_deadline_of_ours_is_too_short_for_a_slow_link_or_too_shallow_for_a_fast_one(rate: int) -> None:
    fleet = lan(4, 256, rate, piece_bytes=256 * 1024)
    assert fleet.run(fleet.all_done, limit=600)
    assert fleet.makespan() <= 1.08 * bound(fleet, rate)
    assert (fleet.snubs, fleet.seed_copies() <= 1.05) == (0, True)


def test_a_node_that_comes_late_is_done_one_image_time_after_it_came() -> None:
    fleet = lan(8, PIECES)
    fleet.run(lambda: fleet.clock.now >= bound(fleet) / 2, limit=60)
    late = fleet.add("late", FAST)
    assert fleet.run(fleet.all_done, limit=60)
    assert took(late) <= 1.1 * bound(fleet)
    assert fleet.seed_copies() <= 1.15


def test_nodes_that_come_when_all_are_done_are_done_one_image_time_later() -> None:
    fleet = lan(3, PIECES)
    fleet.run(fleet.all_done, limit=60)
    late = crowd(fleet, 8, name="late")
    assert fleet.run(fleet.all_done, limit=60)
    assert max(took(node) for node in late) <= 1.06 * bound(fleet)


@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_completes_though_its_seed_dies_after_little_more_than_one_image(seed: int) -> None:
    fleet = lan(8, PIECES, seed=seed)
    first = fleet.nodes[next(iter(fleet.nodes))]
    fleet.run(lambda: first.port.sent >= 1.05 * fleet.image_bytes or fleet.clock.now >= 1.05 * bound(fleet), limit=60)
    fleet.leave(first)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 1.1 * bound(fleet)


@pytest.mark.parametrize("liars", [1, 2])
def test_a_liar_that_promises_everything_and_sends_nothing_costs_no_time(liars: int) -> None:
    fleet = fleet_of()
    crowd(fleet, liars, kind=Kind.LIAR, name="liar")
    crowd(fleet, 8 - liars)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 1.1 * bound(fleet)
    assert fleet.snubs > 0


def test_a_node_that_takes_and_never_serves_costs_the_others_little() -> None:
    fleet = fleet_of()
    crowd(fleet, 1, kind=Kind.FREE_RIDER, name="rider")
    honest = crowd(fleet, 7)
    assert fleet.run(fleet.all_done, limit=60)
    assert max(map(took, honest)) <= 1.1 * bound(fleet)
    assert fleet.seed_copies() <= 1.1


@pytest.mark.parametrize(("fast", "slow", "most"), [(6, 2, 1.05), (4, 4, 1.05)])
def test_a_slow_node_does_not_slow_the_fast_ones(fast: int, slow: int, most: float) -> None:
    fleet = fleet_of()
    quick = crowd(fleet, fast)
    slack = crowd(fleet, slow, SLOW, name="slow")
    assert fleet.run(fleet.all_done, limit=120)
    assert max(map(took, quick)) <= most * bound(fleet)
    assert max(map(took, slack)) <= 1.05 * bound(fleet, 10)


@pytest.mark.parametrize("seed", range(3))
def test_fast_nodes_do_not_wait_at_the_end_for_what_a_slow_one_was_given(seed: int) -> None:
    ends = []
    for slow in (0, 4):
        fleet = Fleet(PIECES // 2, seed=seed)
        fleet.add("s0", FAST, PieceMap.full(PIECES // 2))
        quick = crowd(fleet, 4)
        crowd(fleet, slow, SLOW, name="slow")
        assert fleet.run(fleet.all_done, limit=120)
        ends.append(max(map(took, quick)))
    assert ends[1] <= 1.08 * ends[0]


def test_nodes_that_see_only_the_seed_share_its_uplink_and_complete() -> None:
    fleet = fleet_of()
    for number in range(6):
        fleet.add(f"n{number}", FAST, near=["s0"])
    assert fleet.run(fleet.all_done, limit=120)
    assert fleet.makespan() <= 6 * 1.12 * bound(fleet)


def test_two_halves_that_see_only_the_seed_each_pass_on_among_themselves() -> None:
    fleet = fleet_of()
    for number in range(8):
        fleet.add(f"n{number}", FAST, near=["s0", *(f"n{other}" for other in range(number % 2, number, 2))])
    assert fleet.run(fleet.all_done, limit=120)
    assert fleet.makespan() <= 2 * 1.1 * bound(fleet)


def test_one_node_that_sees_only_the_seed_does_not_slow_the_rest() -> None:
    fleet = fleet_of()
    rest = crowd(fleet, 7)
    alone = fleet.add("alone", FAST, near=["s0"])
    assert fleet.run(fleet.all_done, limit=120)
    assert max(map(took, rest)) <= 1.1 * bound(fleet)
    assert took(alone) <= 2.1 * bound(fleet)


def test_nodes_that_leave_take_nothing_with_them() -> None:
    fleet = lan(8, PIECES)
    for node, at in zip(list(fleet.nodes.values())[1:4], (1.0, 1.5, 3.0), strict=True):
        fleet.clock.after(at, fleet.leave, node)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 1.06 * bound(fleet)
    assert fleet.waste() < 0.01


def test_two_seeds_share_the_work() -> None:
    fleet = fleet_of(seeds=2)
    crowd(fleet, 8)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 1.06 * bound(fleet)
    assert max(node.port.sent for node in fleet.nodes.values() if node.was_seed) <= fleet.image_bytes


def test_nodes_that_were_interrupted_fetch_only_what_they_miss() -> None:
    rng = Random(5)
    fleet = fleet_of()
    halves = [PieceMap(PIECES, (piece for piece in range(PIECES) if rng.random() < 0.5)) for _ in range(8)]
    for number, half in enumerate(halves):
        fleet.add(f"n{number}", FAST, half)
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 0.65 * bound(fleet)


def test_a_new_version_costs_only_the_pieces_that_changed() -> None:
    fleet = fleet_of()
    for number in range(8):
        fleet.add(f"n{number}", FAST, PieceMap(PIECES, range(PIECES * 7 // 8)))
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 0.2 * bound(fleet)
    assert fleet.seed_copies() <= 0.14


def test_nodes_that_hold_all_pieces_between_them_need_no_seed() -> None:
    fleet = Fleet(PIECES)
    for number in range(8):
        fleet.add(f"n{number}", FAST, PieceMap(PIECES, range(number * 64, number * 64 + 64)))
    assert fleet.run(fleet.all_done, limit=60)
    assert fleet.makespan() <= 1.0 * bound(fleet)


def test_the_same_seed_replays_the_same_fleet() -> None:
    ends = []
    for _ in range(2):
        fleet = lan(5, 128, seed=7)
        fleet.run(fleet.all_done, limit=60)
        ends.append([(node.done, node.port.sent, node.messages) for node in fleet.nodes.values()])
    assert ends[0] == ends[1]


@pytest.mark.long
@pytest.mark.parametrize(("nodes", "most"), [(64, 1.15), (128, 1.2)])
def test_a_large_fleet_of_few_neighbours_each_completes_near_the_bound(nodes: int, most: float) -> None:
    fleet = sparse(nodes, PIECES, neighbours=24)
    assert fleet.run(fleet.all_done, limit=120)
    assert fleet.makespan() <= most * bound(fleet)
    assert fleet.seed_copies() <= 1.15
    assert fleet.waste() < 0.01
