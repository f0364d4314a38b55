"""Whatever a fleet is and whatever happens to it: while honest nodes can reach all pieces, every one completes."""

from dataclasses import dataclass

from fleetsim.fleet import Fleet, Kind, Link
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.swarm.policy import Policy

RATES = (2, 10, 100)  # Mbit/s
LIMIT = 900.0  # simulated seconds, far above any of these


@dataclass(frozen=True)
class Plan:
    """One node: how it begins, whom it sees, and when it comes and goes."""

    rate: int
    holds: frozenset[int]
    near: frozenset[int]  # the numbers of nodes before it
    kind: Kind
    comes: float
    goes: float | None  # nodes that go are extras: nobody depends on them


@st.composite
def fleets(draw: st.DrawFn) -> tuple[int, list[Plan], Policy, int]:
    pieces = draw(st.integers(1, 40))
    some = st.frozensets(st.integers(0, pieces - 1))
    stay = draw(st.integers(1, 5))
    plans = [Plan(draw(st.sampled_from(RATES)), frozenset(range(pieces)), frozenset(), Kind.HONEST, 0.0, None)]
    for number in range(1, stay + 1):  # each sees one that came before it, so those who stay are connected
        near = {draw(st.integers(0, number - 1))} | draw(st.frozensets(st.integers(0, number - 1)))
        holds = draw(st.one_of(some, st.just(frozenset()), st.just(frozenset(range(pieces)))))
        comes = draw(st.sampled_from((0.0, 0.0, 0.3, 2.0)))
        plans.append(Plan(draw(st.sampled_from(RATES)), frozenset(holds), frozenset(near), Kind.HONEST, comes, None))
    for number in range(stay + 1, stay + 1 + draw(st.integers(0, 3))):
        near = {draw(st.integers(0, stay))} | draw(st.frozensets(st.integers(0, number - 1)))
        kind = draw(st.sampled_from((Kind.HONEST, Kind.LIAR, Kind.FREE_RIDER)))
        goes = (
            draw(st.one_of(st.just(None), st.floats(0.2, 5.0))) if kind is not Kind.HONEST else draw(st.floats(0.2, 5))
        )
        plans.append(Plan(draw(st.sampled_from(RATES)), draw(some), frozenset(near), kind, 0.0, goes))
    slots = draw(st.sampled_from((24, 24, 1, 2)))
    return pieces, plans, Policy(slots=slots), draw(st.integers(0, 2**16))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(fleets())
def test_every_connected_fleet_completes(drawn: tuple[int, list[Plan], Policy, int]) -> None:
    pieces, plans, policy, seed = drawn
    fleet = Fleet(pieces, 64 * 1024, seed, policy)

    def come(number: int) -> None:
        plan = plans[number]
        here = [f"n{other}" for other in plan.near if f"n{other}" in fleet.nodes]
        later = [
            f"n{other}"
            for other in range(number + 1, len(plans))
            if number in plans[other].near and f"n{other}" in fleet.nodes
        ]
        held = PieceMap(pieces, plan.holds)
        node = fleet.add(f"n{number}", Link.mbit(plan.rate), held, here + later, plan.kind)
        if plan.goes is not None:
            fleet.clock.after(plan.goes, fleet.leave, node)

    for number, plan in enumerate(plans):
        fleet.clock.after(plan.comes, come, number)
    fleet.run(lambda: len(fleet.nodes) == len(plans), limit=10)
    assert fleet.run(fleet.all_done, LIMIT), {
        node.name: node.swarm.held_back(fleet.clock.now) for node in fleet.takers if node.done is None
    }
