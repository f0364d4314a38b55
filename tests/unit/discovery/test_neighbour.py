"""Neighbours: the mix that keeps pieces near and the fleet in one piece."""

import ipaddress
import random

import pytest

from dfedge.core.seams import NodeId
from dfedge.discovery.neighbour import DRAWN, FAR, NEIGHBOURS, Mix, Neighbourhood, Want, on_link
from dfedge.discovery.roster import Candidate, Roster, Sighting

NETWORKS = [ipaddress.ip_network("192.168.4.0/24"), ipaddress.ip_network("2001:db8:4::/64")]


def is_near(host: str) -> bool:
    return host.startswith("10.0.0.")


def neighbourhood(near: int, far: int = 0) -> Neighbourhood:
    """A node that has heard of so many others."""
    roster = Roster(NodeId("own"), random.Random(1))
    for number in range(near):
        roster.heard(Sighting(NodeId(f"near{number}"), f"10.0.0.{number}", 7411, "mdns"), 0.0)
    for number in range(far):
        roster.heard(Sighting(NodeId(f"far{number}"), f"10.9.0.{number}", 7411, "mdns"), 0.0)
    return Neighbourhood(roster, random.Random(2))


def fill(choice: Neighbourhood, seconds: int = 60) -> dict[NodeId, str]:
    """Dial until nothing more is wanted; every dial succeeds."""
    links: dict[NodeId, str] = {}
    for second in range(seconds):
        for one in choice.dials(float(second), links, (), 8, is_near):
            assert one.id is not None
            links[one.id] = one.host
    return links


def test_the_mix_of_a_full_node_is_as_it_is_meant_to_be() -> None:
    mix = Mix()
    for _ in range(NEIGHBOURS):
        want = mix.want
        mix.add(is_near=want is not Want.FAR, is_drawn=want is Want.DRAWN)
    assert (mix.near, mix.far, mix.drawn) == (NEIGHBOURS - FAR, FAR, DRAWN)


def test_most_neighbours_are_near_and_some_are_not() -> None:
    links = fill(neighbourhood(near=100, far=100))
    assert len(links) == NEIGHBOURS
    assert FAR <= sum(not is_near(host) for host in links.values()) <= FAR + DRAWN


def test_where_only_one_kind_is_known_it_takes_every_place() -> None:
    assert len(fill(neighbourhood(near=40))) == NEIGHBOURS
    assert len(fill(neighbourhood(near=0, far=40))) == NEIGHBOURS


def test_a_full_node_dials_nobody_and_dials_under_way_count() -> None:
    choice = neighbourhood(near=100)
    links = fill(choice)
    assert choice.dials(99.0, links, (), 8, is_near) == []
    fewer = dict(list(links.items())[1:])
    assert choice.dials(99.0, fewer, [Candidate(NodeId("x"), "10.0.0.200", 7411)], 8, is_near) == []
    assert len(choice.dials(99.0, fewer, (), 8, is_near)) == 1


def test_nobody_is_parted_with_while_there_is_room_or_nobody_else() -> None:
    alone = neighbourhood(near=NEIGHBOURS)
    links = fill(alone)
    assert len(links) == NEIGHBOURS
    assert alone.leaver(99.0, links, is_near) is None
    roomy = neighbourhood(near=40)
    assert roomy.leaver(99.0, dict(list(fill(roomy).items())[1:]), is_near) is None


def test_whoever_was_drawn_longest_ago_is_exchanged_first() -> None:
    choice = neighbourhood(near=60)
    links = fill(choice)
    assert choice.leaver(99.0, links, is_near) == next(iter(choice._drawn))


def test_too_many_from_off_the_link_give_way_when_near_nodes_turn_up() -> None:
    choice = neighbourhood(near=0, far=40)
    links = fill(choice)
    choice._roster.heard(Sighting(NodeId("near0"), "10.0.0.1", 7411, "mdns"), 90.0)
    leaver = choice.leaver(99.0, links, is_near)
    assert leaver is not None
    assert not is_near(links.pop(leaver))


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("192.168.4.7", True),
        ("192.168.5.7", False),
        ("2001:db8:4::7", True),
        ("2001:db8:5::7", False),
        ("fe80::7%eth0", True),
        ("127.0.0.1", True),
        ("kiosk-07.lan", False),
    ],
)
def test_near_is_what_is_reached_without_a_router(host: str, near: bool) -> None:
    assert on_link(host, NETWORKS) is near
