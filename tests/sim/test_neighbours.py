"""Whom hundreds of nodes have for neighbours: a fleet that falls apart, or is a long chain, never gets the image."""

import random
from collections import deque
from collections.abc import Sequence

import pytest

from dfedge.core.seams import NodeId
from dfedge.core.wire.message import MAX_HOPS
from dfedge.discovery.neighbour import DRAWN, FAR, NEIGHBOURS, REST_S, Neighbourhood
from dfedge.discovery.roster import Roster, Sighting
from dfedge.transfer.gossip import PASSED_ON
from dfedge.transfer.peers import MAX_CONNECTIONS, NEEDY

TICK_S = 0.5
AT_ONCE = 8


class Node:
    """One node's roster and choice, and its sessions."""

    def __init__(self, number: int, subnet: int, rng: random.Random) -> None:
        self.id = NodeId(f"n{number}")
        self.host = f"10.0.{subnet}.{number}"
        self.roster = Roster(self.id, random.Random(rng.random()))
        self.choice = Neighbourhood(self.roster, random.Random(rng.random()))
        self.links: dict[NodeId, str] = {}
        self.idle_until = 0.0

    def is_near(self, host: str) -> bool:
        return host.rpartition(".")[0] == self.host.rpartition(".")[0]

    def hear(self, other: "Node", now: float) -> None:
        self.roster.heard(Sighting(other.id, other.host, 7411, "mdns"), now)
        self.idle_until = 0.0


class Graph:
    """A fleet whose dials take no time; whoever is full lets in only nodes with few sessions, as `Peers` does."""

    def __init__(self, subnets: Sequence[int], seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodes = [Node(number, subnet, self.rng) for number, subnet in enumerate(subnets)]
        self.by_id = {node.id: node for node in self.nodes}
        self.most = 0
        self.now = 0.0

    def all_hear_all(self) -> None:
        for node in self.nodes:
            for other in self.nodes:
                node.hear(other, self.now)

    def settle(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                if node.idle_until <= self.now:
                    self._dial(node)
            self.now += TICK_S

    def _dial(self, node: Node) -> None:
        chosen = node.choice.dials(self.now, node.links, (), AT_ONCE, node.is_near)
        for candidate in chosen:
            assert candidate.id is not None
            other = self.by_id[candidate.id]
            address = (other.host, 7411)
            if self._admit(other, node) and self._admit(node, other):
                node.roster.proven(other.id, address, self.now)
                other.roster.met(node.id, (node.host, 7411), "", self.now)
                node.links[other.id], other.links[node.id] = other.host, node.host
                self.most = max(self.most, len(node.links), len(other.links))
            else:
                node.roster.failed(address, other.id, "24 sessions are open already", self.now)
        if not chosen:
            wait = node.roster.next_dial(self.now, node.links.keys())
            full = node.choice.room(node.links, ()) == 0
            node.idle_until = self.now + (30.0 if full or wait is None else wait)

    def _admit(self, node: Node, newcomer: Node) -> bool:
        if len(node.links) >= MAX_CONNECTIONS:
            if len(newcomer.links) >= NEEDY:
                return False
            self.part(node, self.by_id[self.rng.choice(list(node.links))])
        return True

    def part(self, one: Node, other: Node) -> None:
        for here, there in ((one, other), (other, one)):
            del here.links[there.id]
            here.roster.rest(there.id, self.now + REST_S)
            here.idle_until = 0.0

    def rewire(self) -> int:
        """Once for every node what it does each ten minutes; returns how many parted."""
        parted = 0
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            leaver = node.choice.leaver(self.now, node.links, node.is_near)
            if leaver is not None:
                self.part(node, self.by_id[leaver])
                parted += 1
            self.settle(TICK_S)
        return parted

    def is_found(self, asker: Node, holder: Node) -> bool:
        """Whether a question comes to a neighbour of the one holder, passed on as `Gossip` does."""
        asked, wave = {asker.id}, list(asker.links)
        for _ in range(MAX_HOPS + 1):
            following = []
            for there in wave:
                if there not in asked:
                    asked.add(there)
                    links = list(self.by_id[there].links)
                    if holder.id in links:
                        return True
                    following += self.rng.sample(links, min(PASSED_ON, len(links)))
            wave = following
        return False

    def steps(self, start: Node) -> int:
        """How far the furthest node is; fails if one is not reached."""
        far = {start.id: 0}
        queue = deque([start.id])
        while queue:
            here = queue.popleft()
            for there in self.by_id[here].links:
                if there not in far:
                    far[there] = far[here] + 1
                    queue.append(there)
        assert len(far) == len(self.nodes), f"{len(self.nodes) - len(far)} of {len(self.nodes)} nodes are cut off"
        return max(far.values())

    def diameter(self) -> int:
        return max(self.steps(node) for node in self.nodes)


@pytest.mark.parametrize("seed", range(2))
def test_hundreds_of_nodes_that_start_at_once_are_one_fleet_and_stay_so_while_it_is_rewired(seed: int) -> None:
    graph = Graph([0] * 250, seed)
    graph.all_hear_all()
    graph.settle(90)
    assert graph.diameter() <= 4
    pairs = [graph.rng.sample(graph.nodes, 2) for _ in range(200)]
    assert all(graph.is_found(asker, holder) for asker, holder in pairs)  # however few hold an image
    before = {node.id: set(node.links) for node in graph.nodes}
    for _ in range(2):
        assert graph.rewire() > len(graph.nodes) / 2
        assert graph.diameter() <= 4
    assert graph.most <= MAX_CONNECTIONS
    assert min(len(node.links) for node in graph.nodes) >= NEEDY
    exchanged = [len(before[node.id] - set(node.links)) for node in graph.nodes]
    assert 1 <= sum(exchanged) / len(exchanged) <= NEIGHBOURS / 2  # slowly: most neighbours stay


def test_neighbours_of_the_own_subnet_are_preferred_and_the_subnets_still_hang_together() -> None:
    graph = Graph([number % 4 for number in range(240)], 5)
    graph.all_hear_all()
    graph.settle(120)
    for _ in range(2):
        graph.rewire()
    graph.settle(60)
    assert graph.diameter() <= 4
    assert graph.most <= MAX_CONNECTIONS
    near = [sum(map(node.is_near, node.links.values())) / len(node.links) for node in graph.nodes]
    assert sum(near) / len(near) > 0.5  # a quarter if nobody cared
    assert all(any(not node.is_near(host) for host in node.links.values()) for node in graph.nodes)


def test_a_node_alone_on_its_subnet_fills_its_places_with_others() -> None:
    graph = Graph([0] * 60 + [1], 7)
    graph.all_hear_all()
    graph.settle(120)
    assert len(graph.nodes[-1].links) >= NEEDY > FAR


def test_a_tenth_of_the_fleet_leaves_and_as_many_come_and_nobody_is_cut_off() -> None:
    graph = Graph([0] * 200, 11)
    late = graph.nodes[180:]
    graph.nodes = graph.nodes[:180]
    graph.all_hear_all()
    graph.settle(90)
    for gone in graph.nodes[:18]:
        for other in list(gone.links):
            graph.part(gone, graph.by_id[other])
    leavers, graph.nodes = graph.nodes[:18], [*graph.nodes[18:], *late]
    for node in graph.nodes:
        for gone in leavers:
            node.roster.gone(gone.id, node.links.keys())
            node.roster.rest(gone.id, float("inf"))
    graph.all_hear_all()
    graph.settle(90)
    assert graph.diameter() <= 4
    assert graph.most <= MAX_CONNECTIONS
    assert min(len(node.links) for node in late) >= NEEDY


def test_drawn_neighbours_are_few_and_drawn_again_one_at_a_time() -> None:
    graph = Graph([0] * 120, 13)
    graph.all_hear_all()
    graph.settle(60)
    assert all(len(node.choice._drawn.keys() & node.links.keys()) <= DRAWN for node in graph.nodes)
    node = graph.nodes[0]
    leaver = node.choice.leaver(graph.now, node.links, node.is_near)
    assert leaver is not None
    graph.part(node, graph.by_id[leaver])
    graph.settle(2)
    assert leaver not in node.links
    assert len(node.links) >= NEIGHBOURS
