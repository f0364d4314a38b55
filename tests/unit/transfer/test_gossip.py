"""Gossip: questions find holders and end; lies and floods lead nowhere."""

import gc
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from dfedge.core.errors import Untrusted
from dfedge.core.image.name import Ref
from dfedge.core.seams import ImageId, NodeId, PeerRecord
from dfedge.core.wire import message as m
from dfedge.transfer.gossip import MAX_HOLDINGS, QUESTIONS_PER_S, Gossip

IMAGE = m.Entry(bytes(32), "gateway", "1", 1, 5, 5)


class Node:
    """One node's gossip; its neighbours are wired by `link`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: list[Any] = []
        self.heard: list[tuple[str, bool]] = []
        self.now = 100.0
        gate = SimpleNamespace(own_id=name, read_any_record=_read)
        self.gossip = Gossip(gate, self.peers, self._hear, lambda: self.now, random.Random(1))  # type: ignore[arg-type]

    def _hear(self, record: PeerRecord, host: str, port: int, asked: bool) -> None:
        self.heard.append((record.id, asked))


def _read(data: bytes) -> PeerRecord:
    if data == b"forged":
        raise Untrusted("node record: forged")
    return PeerRecord(NodeId(data.decode()), data.decode(), (), 1, 1)


def holder(record: bytes) -> m.Holder:
    """An answer: some node holds the image."""
    return m.Holder(record, "10.0.0.9", 7411, IMAGE.image, IMAGE.name, IMAGE.version, IMAGE.size, IMAGE.held)


def link(one: Node, other: Node, holds: bool = False) -> None:
    """Let two nodes be neighbours; `holds` says that `other` announces the image to `one`."""
    for here, there, catalogue in ((one, other, {ImageId(IMAGE.image): IMAGE} if holds else {}), (other, one, {})):
        connection = SimpleNamespace(
            id=there.name, is_closed=False,
            hello=SimpleNamespace(record=there.name.encode(), port=7411),
        )  # fmt: skip
        connection.back = None
        here.peers.append(SimpleNamespace(connection=connection, catalogue=catalogue, host=f"10.0.0.{len(there.name)}"))
    to_other, to_one = one.peers[-1].connection, other.peers[-1].connection
    to_other.send = lambda message: other.gossip.on_message(to_one, message)
    to_one.send = lambda message: one.gossip.on_message(to_other, message)


def in_between() -> tuple[Node, list[m.Message]]:
    """A node with two neighbours, and what it says to the second."""
    node = Node("a")
    link(node, Node("bb"))
    link(node, Node("ccc"))
    passed_on: list[m.Message] = []
    node.peers[1].connection.send = passed_on.append
    return node, passed_on


def test_a_holder_three_steps_away_is_found_and_only_the_asker_hears_of_it() -> None:
    asker, middle, far, holder = (Node(name) for name in ("a", "mm", "fff", "hhhh"))
    link(asker, middle)
    link(middle, far)
    link(far, holder, holds=True)
    asker.gossip.seek(Ref("gateway", "1"))
    assert asker.heard == [("hhhh", True)]
    assert middle.heard == far.heard == []


def test_a_question_that_goes_round_in_a_ring_ends() -> None:
    ring = [Node("n" * (number + 1)) for number in range(4)]
    for number in range(4):
        link(ring[number], ring[(number + 1) % 4])
    ring[0].gossip.seek(Ref("gateway"))
    assert all(node.heard == [] for node in ring)


def test_a_forged_record_is_passed_over() -> None:
    node, peer = Node("a"), Node("b")
    link(node, peer)
    good, forged = m.Contact(b"good", "10.0.0.9", 7411), m.Contact(b"forged", "10.0.0.8", 7411)
    node.gossip.on_message(node.peers[0].connection, m.Contacts((forged, good)))
    assert node.heard == [("good", False)]


def test_an_answer_to_nothing_we_asked_is_passed_over() -> None:
    node, peer = Node("a"), Node("b")
    link(node, peer)
    node.gossip.on_message(node.peers[0].connection, m.Found(bytes(8), (holder(b"x"),)))
    assert node.heard == []


def test_who_only_wants_to_know_hears_of_holders_afar_and_what_they_hold_and_dials_nobody() -> None:
    asker, middle, far, holder = (Node(name) for name in ("a", "mm", "fff", "hhhh"))
    link(asker, middle)
    link(middle, far)
    link(far, holder, holds=True)
    with asker.gossip.asking(Ref("gateway")) as answers:
        [held] = answers.holdings.values()
    assert (held.node, held.name, held.image, held.size, held.held) == ("hhhh", "hhhh", IMAGE.image, 5, 5)
    assert not any(asked for _, asked in asker.heard)


def test_an_answer_of_another_image_or_under_a_forged_record_is_passed_over() -> None:
    node, peer = Node("a"), Node("b")
    link(node, peer)
    said: list[Any] = []
    node.peers[0].connection.send = said.append
    with node.gossip.asking(Ref("gateway", "2")) as answers:
        question = said[0].question
        other = holder(b"x")
        forged = replace(other, record=b"forged", version="2")
        node.gossip.on_message(node.peers[0].connection, m.Found(question, (other, forged)))
    assert not answers.holdings


def test_a_neighbour_that_answers_without_end_fills_nothing() -> None:
    node, peer = Node("a"), Node("b")
    link(node, peer)
    said: list[Any] = []
    node.peers[0].connection.send = said.append
    with node.gossip.asking(Ref("gateway")) as answers:
        for number in range(MAX_HOLDINGS + 10):
            made_up = replace(holder(b"x"), image=number.to_bytes(32, "big"))
            node.gossip.on_message(node.peers[0].connection, m.Found(said[0].question, (made_up,)))
    assert len(answers.holdings) == MAX_HOLDINGS


def test_a_holder_that_only_its_neighbour_can_reach_is_told_without_an_address() -> None:
    node, peer = Node("a"), Node("b")
    link(node, peer)
    link(node, Node("cc"), holds=True)
    node.peers[1].host = "fe80::1%eth0"
    said: list[Any] = []
    node.peers[0].connection.send = said.append
    node.gossip.on_message(node.peers[0].connection, m.Seek(bytes(8), 0, "gateway", "", ""))
    [found] = said
    assert [(one.record, one.host) for one in found.holders] == [(b"cc", "")]


def test_a_flood_of_questions_is_not_passed_on_and_not_held_against_who_passes_it_on() -> None:
    node, passed_on = in_between()
    connection = node.peers[0].connection
    for number in range(3 * QUESTIONS_PER_S):
        node.gossip.on_message(connection, m.Seek(number.to_bytes(8, "big"), 1, "x", "", ""))
    assert len(passed_on) == QUESTIONS_PER_S
    node.now += 1
    node.gossip.on_message(connection, m.Seek(b"\xfe" * 8, 1, "x", "", ""))
    assert len(passed_on) == QUESTIONS_PER_S + 1


def test_a_session_that_is_over_is_not_kept_for_the_sake_of_what_it_asked() -> None:
    node, passed_on = in_between()
    question = m.Seek(bytes(8), 1, "x", "", "")
    asker = node.peers.pop(0).connection
    node.gossip.on_message(asker, question)
    node.gossip.gone(asker)
    assert asker not in gc.get_referents(node.gossip._ways)
    node.gossip.on_message(node.peers[0].connection, question)
    assert len(passed_on) == 1, "the question went round"
    node.gossip.on_message(node.peers[0].connection, m.Found(bytes(8), (holder(b"x"),)))


def test_a_newcomer_gets_a_few_contacts_and_none_that_is_link_local() -> None:
    node = Node("a")
    for number in range(12):
        link(node, Node("p" * (number + 2)))
    node.peers[3].host = "fe80::1%eth0"
    said: list[m.Message] = []
    node.peers[0].connection.send = said.append
    node.gossip.welcome(node.peers[0].connection)
    (contacts,) = said
    assert isinstance(contacts, m.Contacts)
    assert 7 <= len(contacts.contacts) <= 8
    assert not any(contact.host.startswith("fe80") for contact in contacts.contacts)
