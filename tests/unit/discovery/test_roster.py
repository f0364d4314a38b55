"""The roster: bounded whatever is said on the LAN, and fair to those who are really there."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfedge.core.seams import NodeId
from dfedge.discovery.roster import (
    CAPACITY,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    MAX_ADDRESSES,
    UNPROVEN_PER_HOST,
    UNPROVEN_PER_S,
    Address,
    Candidate,
    Roster,
    Sighting,
    Via,
)

OWN = NodeId("o" * 52)
NOBODY: frozenset[NodeId] = frozenset()


def node(number: int) -> NodeId:
    return NodeId(f"n{number}")


def seen(number: int | None, host: str = "", port: int = 7411, via: Via = "mdns", name: str = "") -> Sighting:
    return Sighting(None if number is None else node(number), host or f"10.0.0.{number}", port, via, name)


@pytest.fixture
def roster() -> Roster:
    return Roster(OWN, random.Random(1))


def test_a_node_never_dials_itself(roster: Roster) -> None:
    roster.heard(Sighting(OWN, "10.0.0.9", 7411, "mdns"), 0.0)
    assert roster.dials(0.0, NOBODY, 8) == []


def test_a_sighted_node_is_dialled_once_until_the_dial_is_over(roster: Roster) -> None:
    roster.heard(seen(1), 0.0)
    assert roster.dials(0.0, NOBODY, 8) == [Candidate(node(1), "10.0.0.1", 7411)]
    assert roster.dials(1.0, NOBODY, 8) == []
    assert roster.dials(31.0, NOBODY, 8) != []


def test_a_connected_node_is_not_dialled_again(roster: Roster) -> None:
    roster.heard(seen(1), 0.0)
    assert roster.dials(0.0, {node(1)}, 8) == []
    assert roster.next_dial(0.0, {node(1)}) is None


def test_a_failed_address_is_tried_again_ever_more_rarely_but_at_least_every_five_minutes(roster: Roster) -> None:
    roster.heard(seen(1), 0.0)
    now, waits = 0.0, []
    for _ in range(14):
        assert roster.dials(now, NOBODY, 8)
        roster.failed(("10.0.0.1", 7411), node(1), "connection refused", now)
        wait = roster.next_dial(now, NOBODY)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits[0] <= FIRST_WAIT_S
    assert all(0.75 * 0.5 <= later / sooner <= 2.7 for sooner, later in pairwise(waits))
    assert LONGEST_WAIT_S * 0.75 <= waits[-1] <= LONGEST_WAIT_S


def test_proven_addresses_are_dialled_before_hearsay(roster: Roster) -> None:
    for number in range(1, 30):
        roster.heard(seen(number), 0.0)
    roster.proven(node(20), ("10.0.0.20", 7411), 1.0)
    assert roster.dials(2.0, NOBODY, 1)[0].id == node(20)


def test_a_node_with_several_addresses_is_dialled_where_it_last_answered(roster: Roster) -> None:
    roster.heard(seen(1, "10.0.0.1"), 0.0)
    roster.heard(seen(1, "fe80::1%eth0"), 0.0)
    roster.proven(node(1), ("fe80::1%eth0", 7411), 1.0)
    assert roster.dials(2.0, NOBODY, 8) == [Candidate(node(1), "fe80::1%eth0", 7411)]
    roster.failed(("fe80::1%eth0", 7411), node(1), "no route to host", 2.0)
    assert roster.dials(2.1, NOBODY, 8) == [Candidate(node(1), "10.0.0.1", 7411)]


def test_a_listed_peer_is_dialled_without_knowing_its_id_and_never_forgotten() -> None:
    roster = Roster(OWN, random.Random(1), capacity=10)
    roster.heard(seen(None, "192.0.2.7", via="static"), 0.0)
    for number in range(100):
        roster.heard(seen(number), 1.0)
    assert roster.dials(2.0, NOBODY, 1) == [Candidate(None, "192.0.2.7", 7411)]


def test_a_listed_peer_that_is_connected_is_not_dialled_twice_also_when_mdns_names_it(roster: Roster) -> None:
    roster.heard(seen(1, "192.0.2.7"), 0.0)
    roster.heard(seen(None, "192.0.2.7", via="static"), 0.0)
    assert len(roster.dials(0.0, NOBODY, 8)) == 1
    roster.proven(node(1), ("192.0.2.7", 7411), 1.0)
    assert roster.dials(60.0, {node(1)}, 8) == []


def test_a_listed_peer_that_dialled_us_is_no_second_row_that_was_refused(roster: Roster) -> None:
    roster.heard(seen(None, "192.0.2.7", via="static"), 0.0)
    roster.dials(0.0, NOBODY, 1)
    roster.failed(("192.0.2.7", 7411), None, "connected already", 1.0)
    roster.met(node(1), ("192.0.2.7", 7411), "gw-01", 2.0)
    [view] = roster.views(3.0)
    assert (view.id, view.name, view.via, view.reason) == (node(1), "gw-01", ("static",), "")
    assert roster.dials(600.0, {node(1)}, 8) == []
    assert roster.dials(600.0, NOBODY, 8) == [Candidate(node(1), "192.0.2.7", 7411)]


def test_a_node_that_dialled_us_is_known_where_it_listens(roster: Roster) -> None:
    roster.met(node(1), ("10.0.0.1", 7411), "gw-01", 0.0)
    assert roster.dials(1.0, NOBODY, 8) == [Candidate(node(1), "10.0.0.1", 7411)]
    assert roster.views(1.0)[0].name == "gw-01"


def test_a_neighbour_that_was_parted_with_rests_even_if_it_is_heard_again(roster: Roster) -> None:
    roster.proven(node(1), ("10.0.0.1", 7411), 0.0)
    roster.rest(node(1), 60.0)
    roster.heard(seen(1), 5.0)
    assert roster.dials(30.0, NOBODY, 8) == []
    assert roster.waiting(30.0, NOBODY) == []
    assert roster.next_dial(30.0, NOBODY) == 30.0
    assert roster.dials(60.0, NOBODY, 8) != []


def test_near_addresses_are_dialled_before_others_of_their_kind(roster: Roster) -> None:
    for number in range(1, 4):
        roster.heard(seen(number, f"10.9.0.{number}"), 0.0)
    roster.heard(seen(4, "10.0.0.4"), 0.5)
    roster.proven(node(2), ("10.9.0.2", 7411), 0.5)

    def is_near(host: str) -> bool:
        return host.startswith("10.0.0.")

    offer = roster.offer(1.0, NOBODY, is_near)
    taken = [offer.take(), offer.take(), offer.take(far=True)]
    assert [one and one.id for one in taken[:2]] == [node(2), node(4)]
    assert taken[2] is not None
    assert taken[2].host.startswith("10.9.0.")


def test_what_is_drawn_by_lot_may_be_any_that_is_known(roster: Roster) -> None:
    roster.proven(node(0), ("10.0.0.0", 7411), 0.0)
    for number in range(1, 40):
        roster.heard(seen(number), 0.0)
    drawn = [roster.offer(60.0 * turn, NOBODY).take(by_lot=True) for turn in range(1, 6)]
    assert all(drawn)
    assert len({one.id for one in drawn if one}) > 1


def test_another_board_at_a_listed_address_is_accepted_after_one_failure(roster: Roster) -> None:
    roster.heard(seen(None, "192.0.2.7", via="static"), 0.0)
    roster.dials(0.0, NOBODY, 1)
    roster.proven(node(1), ("192.0.2.7", 7411), 0.0)
    assert roster.dials(10.0, NOBODY, 1) == [Candidate(node(1), "192.0.2.7", 7411)]
    roster.failed(("192.0.2.7", 7411), node(1), "another node answers there", 10.0)
    assert roster.dials(20.0, NOBODY, 1) == [Candidate(None, "192.0.2.7", 7411)]


def test_a_node_that_is_on_its_own_list_of_peers_leaves_itself_alone(roster: Roster) -> None:
    roster.heard(seen(None, "192.0.2.7", via="static"), 0.0)
    roster.dials(0.0, NOBODY, 1)
    roster.proven(OWN, ("192.0.2.7", 7411), 0.0)
    assert roster.dials(LONGEST_WAIT_S - 1, NOBODY, 1) == []
    assert roster.views(1.0)[0].reason == "that is this node"


def test_a_goodbye_cannot_cut_off_a_node_that_answers(roster: Roster) -> None:
    roster.heard(seen(1), 0.0)
    roster.heard(seen(2), 0.0)
    roster.heard(seen(3), 0.0)
    roster.proven(node(2), ("10.0.0.2", 7411), 0.0)
    for number in (1, 2, 3):
        roster.gone(node(number), connected={node(1)})
    assert {view.id for view in roster.views(1.0)} == {node(1), node(2)}


def test_a_proven_node_that_is_heard_again_need_not_wait_out_its_back_off(roster: Roster) -> None:
    roster.proven(node(1), ("10.0.0.1", 7411), 0.0)
    for _ in range(10):
        roster.failed(("10.0.0.1", 7411), node(1), "timed out", 1.0)
    roster.heard(seen(1), 2.0)
    assert roster.dials(13.0, NOBODY, 1)


def test_after_our_own_network_changed_everybody_we_know_is_tried_at_once(roster: Roster) -> None:
    roster.proven(node(1), ("10.0.0.1", 7411), 0.0)
    for _ in range(10):
        roster.failed(("10.0.0.1", 7411), node(1), "network is unreachable", 1.0)
    roster.wake(2.0)
    assert roster.dials(2.0, NOBODY, 1)


def test_hearsay_never_displaces_a_proven_node() -> None:
    roster = Roster(OWN, random.Random(1), capacity=50)
    for number in range(40):
        roster.proven(node(number), (f"10.0.0.{number}", 7411), 0.0)
    for number in range(1000, 6000):
        roster.heard(seen(number, f"10.9.{number // 250}.{number % 250}"), 1.0)
    ids = {view.id for view in roster.views(2.0)}
    assert {node(number) for number in range(40)} <= ids
    assert len(roster) == 50


def test_a_flood_of_fakes_does_not_overtake_a_real_node_that_waits_for_its_second_try(roster: Roster) -> None:
    roster.heard(seen(1), 0.0)
    roster.dials(0.0, NOBODY, 1)
    roster.failed(("10.0.0.1", 7411), node(1), "timed out", 0.0)
    dialled = []
    for number in range(3500):
        now = number / 100
        roster.heard(seen(1000 + number, f"10.9.{number // 250}.{number % 250}"), now)
        if number % 25 == 0:
            dialled += [candidate.id for candidate in roster.dials(now, NOBODY, 8)]
    assert node(1) in dialled


def test_nobody_can_make_a_node_knock_at_all_ports_of_a_victim(roster: Roster) -> None:
    for number in range(1000):
        roster.heard(seen(number, "10.0.0.66", port=1 + number), 0.0)
    dialled = sum(len(roster.dials(float(second), NOBODY, 100)) for second in range(25))
    assert dialled <= UNPROVEN_PER_HOST


def test_a_node_remembers_few_addresses_of_another_and_keeps_the_proven_one(roster: Roster) -> None:
    roster.proven(node(1), ("10.0.0.1", 7411), 0.0)
    for number in range(100):
        roster.heard(seen(1, f"10.0.1.{number}"), 1.0)
    [view] = roster.views(2.0)
    assert len(view.addresses) == MAX_ADDRESSES
    assert view.addresses[0] == ("10.0.0.1", 7411)


def test_people_see_who_was_heard_of_how_and_why_it_did_not_work(roster: Roster) -> None:
    roster.heard(seen(1, name="gw-01"), 5.0)
    roster.failed(("10.0.0.1", 7411), node(1), "connection refused", 6.0)
    [view] = roster.views(6.0)
    assert (view.name, view.via, view.reason, view.last_seen) == ("gw-01", ("mdns",), "connection refused", 5.0)
    assert 0.0 < view.retry_s <= 1.0


def test_a_node_that_is_off_or_has_neighbours_enough_does_not_look_like_one_that_refuses(roster: Roster) -> None:
    roster.heard(seen(1), 5.0)
    roster.failed(("10.0.0.1", 7411), node(1), "of another fleet", 6.0, refused=True)
    assert [(view.refused, view.reason) for view in roster.views(6.0)] == [(True, "of another fleet")]
    roster.failed(("10.0.0.1", 7411), node(1), "24 sessions are open already", 7.0)
    assert [(view.refused, view.reason) for view in roster.views(7.0)] == [(False, "24 sessions are open already")]


def test_a_caller_that_sleeps_as_told_never_spins(roster: Roster) -> None:
    roster.heard(seen(1, "10.0.0.1"), 0.0)
    roster.heard(seen(1, "10.0.0.2"), 0.0)
    now, turns = 0.0, 0
    while now < 20.0:
        roster.dials(now, NOBODY, 8)
        now += roster.next_dial(now, NOBODY) or 1.0
        turns += 1
    assert turns < 10


_NUMBERS = st.integers(0, 30)
_HOSTS = st.sampled_from([f"10.0.0.{n}" for n in range(6)] + ["fe80::1%eth0", "fe80::1%wlan0"])
_PORTS = st.sampled_from([0, 1, 7411, 65535, 70000])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("heard"), _NUMBERS, _HOSTS, _PORTS, st.sampled_from(["mdns", "static", "pex"])),
        st.tuples(st.just("proven"), _NUMBERS, _HOSTS, _PORTS),
        st.tuples(st.just("inbound"), _NUMBERS),
        st.tuples(st.just("failed"), st.none() | _NUMBERS, _HOSTS, _PORTS),
        st.tuples(st.just("gone"), _NUMBERS),
        st.tuples(st.just("met"), _NUMBERS, _HOSTS, _PORTS),
        st.tuples(st.just("rest"), _NUMBERS),
        st.tuples(st.just("dials"), st.floats(0, 40)),
        st.tuples(st.just("wake")),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(_STEPS)
def test_the_roster_is_bounded_and_knocks_rarely_whatever_it_is_told(steps: list[tuple[object, ...]]) -> None:
    capacity = 40  # the listed addresses alone are at most 8 x 3
    roster = Roster(OWN, random.Random(7), capacity=capacity)
    proven: set[Address] = set()
    knocks: list[float] = []
    now = 0.0
    for step in steps:
        match step:
            case ("heard", int(n), str(host), int(port), "mdns" | "static" | "pex" as via):
                roster.heard(Sighting(None if via == "static" else node(n), host, port, via), now)
            case ("proven", int(n), str(host), int(port)):
                roster.proven(node(n), (host, port), now)
                proven.add((host, port))
            case ("inbound", int(n)):
                roster.proven(node(n), None, now)
            case ("failed", int() | None as n, str(host), int(port)):
                roster.failed((host, port), None if n is None else node(n), "x", now)
            case ("met", int(n), str(host), int(port)):
                roster.met(node(n), (host, port), "x", now)
            case ("rest", int(n)):
                roster.rest(node(n), now + 5.0)
            case ("gone", int(n)):
                roster.gone(node(n), frozenset())
            case ("wake",):
                roster.wake(now)
            case ("dials", float(wait) | int(wait)):
                now += wait / 10
                connected = {node(3)}
                chosen = roster.dials(now, connected, 8)
                assert len({(one.host, one.port) for one in chosen}) == len(chosen) <= 8
                assert not {one.id for one in chosen} & connected
                knocks += [now for one in chosen if (one.host, one.port) not in proven]
                wait_s = roster.next_dial(now, connected)
                assert wait_s is None or wait_s >= 0.25
        assert len(roster) <= capacity
        assert sum(len(view.addresses) for view in roster.views(now)) == len(roster)
    for first, later in zip(knocks, knocks[UNPROVEN_PER_S:], strict=False):
        assert later - first >= 1.0


def test_twenty_thousand_fakes_are_held_to_the_capacity(roster: Roster) -> None:
    for number in range(20_000):
        roster.heard(seen(number, f"10.{number % 7}.{number % 251}.{number % 199}"), number / 1000)
    assert len(roster) == CAPACITY
