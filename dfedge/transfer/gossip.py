"""Hearing of nodes and images from neighbours: contacts for newcomers, and questions passed on for who holds what.

So nodes find each other where multicast does not reach, and a fleet may be larger than the neighbours one node has.
"""

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from dfedge.core.errors import Untrusted
from dfedge.core.image.name import Ref
from dfedge.core.seams import Clock, NodeId, PeerRecord
from dfedge.core.wire import message as m
from dfedge.transfer.connection import Connection
from dfedge.transfer.peers import Peer, Peers
from dfedge.transfer.ports import Gate

WELCOME: Final = 8  # contacts that a newcomer gets: enough to meet the rest through them
PASSED_ON: Final = 8  # neighbours that a question goes on to
ANSWERS: Final = 8  # contacts in one answer
MAX_QUESTIONS: Final = 1024  # whose way back is remembered
MAX_RECORDS: Final = 4096  # whose signature was checked
QUESTIONS_PER_S: Final = 20  # of one neighbour that we look into
V = TypeVar("V")
Heard = Callable[[PeerRecord, str, int, bool], None]


class Gossip:
    """`heard` is told of each node with a record that holds; its last argument says that we asked for it."""

    def __init__(self, gate: Gate, peers: Peers, heard: Heard, clock: Clock, rng: random.Random) -> None:
        self._gate = gate
        self._peers = peers
        self._heard = heard
        self._clock = clock
        self._rng = rng
        self._asked: OrderedDict[bytes, None] = OrderedDict()  # our own questions
        self._ways: OrderedDict[bytes, Connection] = OrderedDict()  # where others' came from
        self._records: OrderedDict[bytes, PeerRecord] = OrderedDict()
        self._counts: dict[NodeId, tuple[int, int]] = {}  # second, questions in it

    def welcome(self, connection: Connection) -> None:
        """Tell a newcomer of some of our peers."""
        others = [peer for peer in self._peers if peer.connection is not connection]
        chosen = self._rng.sample(others, min(WELCOME, len(others)))
        contacts = tuple(_contacts(chosen))
        if contacts:
            connection.send(m.Contacts(contacts))

    def seek(self, ref: Ref) -> None:
        """Ask all neighbours who holds an image; who is found is heard of like any other node."""
        question = self._rng.randbytes(8)
        _remember(self._asked, question, None, MAX_QUESTIONS)
        for peer in self._peers:
            peer.connection.send(m.Seek(question, m.MAX_HOPS, ref.name, ref.version, ref.digest))

    def on_message(self, connection: Connection, message: m.Contacts | m.Seek | m.Found) -> None:
        """Act on what a neighbour says. A flood of questions is passed over: it may be another's, passed on."""
        match message:
            case m.Contacts(contacts):
                self._take(contacts, asked=False)
            case m.Seek():
                self._answer(connection, message)
            case m.Found(question, contacts):
                if question in self._asked:
                    self._take(contacts, asked=True)
                elif (back := self._ways.get(question)) is not None and not back.is_closed:
                    back.send(message)

    def gone(self, connection: Connection) -> None:
        """A neighbour is gone."""
        self._counts.pop(connection.id, None)

    def _answer(self, connection: Connection, seek: m.Seek) -> None:
        second = int(self._clock())
        last, count = self._counts.get(connection.id, (second, 0))
        count = count + 1 if last == second else 1
        self._counts[connection.id] = (second, count)
        if count > QUESTIONS_PER_S:
            return
        if seek.question in self._ways or seek.question in self._asked:
            return
        _remember(self._ways, seek.question, connection, MAX_QUESTIONS)
        others = [peer for peer in self._peers if peer.connection is not connection]
        holders = [peer for peer in others if _holds(peer, seek)]
        contacts = tuple(_contacts(self._rng.sample(holders, min(ANSWERS, len(holders)))))
        if contacts:
            connection.send(m.Found(seek.question, contacts))
        elif seek.hops:
            on = m.Seek(seek.question, seek.hops - 1, seek.name, seek.version, seek.digest)
            for peer in self._rng.sample(others, min(PASSED_ON, len(others))):
                peer.connection.send(on)

    def _take(self, contacts: Iterable[m.Contact], *, asked: bool) -> None:
        for contact in contacts:
            record = self._records.get(contact.record)
            if record is None:
                try:
                    record = self._gate.read_any_record(contact.record)
                except Untrusted:
                    continue  # hearsay: whoever passed it on may have been told it
                _remember(self._records, contact.record, record, MAX_RECORDS)
            if record.id != self._gate.own_id:
                self._heard(record, contact.host, contact.port, asked)


def _contacts(peers: Iterable[Peer]) -> Iterable[m.Contact]:
    for peer in peers:
        connection = peer.connection
        host = connection.address.rpartition(":")[0].strip("[]")
        try:
            is_local = ipaddress.ip_address(host).is_link_local
        except ValueError:
            continue
        if connection.hello is not None and not is_local:  # a scope means nothing to others
            yield m.Contact(connection.hello.record, host, connection.hello.port)


def _holds(peer: Peer, seek: m.Seek) -> bool:
    ref = Ref(seek.name, seek.version, seek.digest)
    return any(ref.matches(entry.image, entry.name, entry.version) for entry in peer.catalogue.values())


def _remember(known: OrderedDict[bytes, V], key: bytes, value: V, most: int) -> None:
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)
