"""Hearing of nodes and images from neighbours: contacts for newcomers, and questions passed on for who holds what.

So nodes find each other where multicast does not reach, and a fleet may be larger than the neighbours one node has.
"""

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from dfedge.core.errors import Untrusted
from dfedge.core.image.name import Ref
from dfedge.core.seams import Clock, ImageId, NodeId, PeerRecord
from dfedge.core.wire import message as m
from dfedge.transfer.connection import Connection
from dfedge.transfer.peers import Peer, Peers
from dfedge.transfer.ports import Gate

WELCOME: Final = 8  # contacts that a newcomer gets: enough to meet the rest through them
PASSED_ON: Final = 8  # neighbours that a question goes on to
ANSWERS: Final = 8  # holders in one answer
MAX_HOLDINGS: Final = 512  # kept of the answers to one question
MAX_QUESTIONS: Final = 1024  # whose way back is remembered
MAX_RECORDS: Final = 4096  # whose signature was checked
QUESTIONS_PER_S: Final = 20  # of one neighbour that we look into
V = TypeVar("V")
Heard = Callable[[PeerRecord, str, int, bool], None]


@dataclass(frozen=True, slots=True)
class Holding:
    """What somebody says a node holds. The node's name is certified, the rest is hearsay."""

    node: NodeId
    name: str
    image: ImageId
    size: int  # bytes
    held: int  # bytes


class Answers:
    """What was answered to one question so far."""

    def __init__(self) -> None:
        self.holdings: dict[tuple[NodeId, ImageId], Holding] = {}
        self._news = anyio.Event()

    def add(self, holding: Holding) -> None:
        """Keep an answer; the first of each node and image, as others may come from further away."""
        key = (holding.node, holding.image)
        if key not in self.holdings and len(self.holdings) < MAX_HOLDINGS:
            self.holdings[key] = holding
            self._news.set()
            self._news = anyio.Event()

    async def changed(self) -> None:
        """Wait for an answer that says something new."""
        await self._news.wait()


class Gossip:
    """`heard` is told of each node with a record that holds; its last argument says that we asked for it."""

    def __init__(self, gate: Gate, peers: Peers, heard: Heard, clock: Clock, rng: random.Random) -> None:
        self._gate = gate
        self._peers = peers
        self._heard = heard
        self._clock = clock
        self._rng = rng
        self._asked: OrderedDict[bytes, tuple[Ref, Answers | None]] = OrderedDict()  # our own questions
        self._ways: OrderedDict[bytes, Connection | None] = OrderedDict()  # where others' came from; None: gone since
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
        self._ask(ref, None)

    @contextmanager
    def asking(self, ref: Ref) -> Iterator[Answers]:
        """Ask all neighbours who holds an image, only to know: nobody is dialled for it."""
        answers = Answers()
        question = self._ask(ref, answers)
        try:
            yield answers
        finally:
            self._asked.pop(question, None)

    def _ask(self, ref: Ref, answers: Answers | None) -> bytes:
        question = self._rng.randbytes(8)
        _remember(self._asked, question, (ref, answers), MAX_QUESTIONS)
        for peer in self._peers:
            peer.connection.send(m.Seek(question, m.MAX_HOPS, ref.name, ref.version, ref.digest))
        return question

    def on_message(self, connection: Connection, message: m.Contacts | m.Seek | m.Found) -> None:
        """Act on what a neighbour says. A flood of questions is passed over: it may be another's, passed on."""
        match message:
            case m.Contacts(contacts):
                for contact in contacts:
                    self._take(contact, asked=False)
            case m.Seek():
                self._answer(connection, message)
            case m.Found(question, holders):
                if question in self._asked:
                    self._take_answer(holders, *self._asked[question])
                elif (back := self._ways.get(question)) is not None and not back.is_closed:
                    back.send(message)

    def gone(self, connection: Connection) -> None:
        """A neighbour is gone: its questions stay known, so that none goes round; its session does not."""
        self._counts.pop(connection.id, None)
        for question, way in self._ways.items():
            if way is connection:
                self._ways[question] = None

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
        holders = [holder for peer in others for holder in _held(peer, seek)]
        if holders:
            connection.send(m.Found(seek.question, tuple(self._rng.sample(holders, min(ANSWERS, len(holders))))))
        elif seek.hops:
            on = m.Seek(seek.question, seek.hops - 1, seek.name, seek.version, seek.digest)
            for peer in self._rng.sample(others, min(PASSED_ON, len(others))):
                peer.connection.send(on)

    def _take(self, contact: m.Contact | m.Holder, *, asked: bool) -> PeerRecord | None:
        """Whose contact it is; None if the record does not hold, or is our own."""
        record = self._records.get(contact.record)
        if record is None:
            try:
                record = self._gate.read_any_record(contact.record)
            except Untrusted:
                return None  # hearsay: whoever passed it on may have been told it
            _remember(self._records, contact.record, record, MAX_RECORDS)
        if record.id == self._gate.own_id:
            return None
        self._heard(record, contact.host, contact.port, asked)
        return record

    def _take_answer(self, holders: Iterable[m.Holder], ref: Ref, answers: Answers | None) -> None:
        for holder in holders:
            if ref.matches(holder.image, holder.name, holder.version):
                record = self._take(holder, asked=answers is None)
                if record is not None and answers is not None:
                    answers.add(Holding(record.id, record.name, ImageId(holder.image), holder.size, holder.held))


def _contacts(peers: Iterable[Peer]) -> Iterable[m.Contact]:
    for peer in peers:
        host = _told_host(peer)
        if peer.connection.hello is not None and host:
            yield m.Contact(peer.connection.hello.record, host, peer.connection.hello.port)


def _held(peer: Peer, seek: m.Seek) -> Iterator[m.Holder]:
    hello = peer.connection.hello
    if hello is None:
        return
    ref, host = Ref(seek.name, seek.version, seek.digest), _told_host(peer)
    for entry in peer.catalogue.values():
        if ref.matches(entry.image, entry.name, entry.version):
            what = (entry.image, entry.name, entry.version, entry.size, entry.held)
            yield m.Holder(hello.record, host, hello.port, *what)


def _told_host(peer: Peer) -> str:
    """The address to tell others; empty for a link-local one, as its scope means nothing to them."""
    try:
        return "" if ipaddress.ip_address(peer.host).is_link_local else peer.host
    except ValueError:
        return ""


def _remember(known: OrderedDict[bytes, V], key: bytes, value: V, most: int) -> None:
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)
