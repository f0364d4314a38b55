"""A session's own state: what a peer says of its link counts for as long as it says so."""

import time

import pytest

from dfedge.core.errors import Busy, ProtocolError
from dfedge.core.seams import NodeId
from dfedge.core.swarm.phase import Session
from dfedge.core.wire import message as m
from dfedge.transfer.channel import ControlChannel
from dfedge.transfer.connection import Connection

from .fakes import Bulk


class Control(ControlChannel):
    """Keeps the messages that it is given."""

    def __init__(self) -> None:
        super().__init__("control")
        self.sent: list[m.Message] = []

    def send(self, message: m.Message) -> None:
        self.sent.append(message)


class Ssh:
    """The part of asyncssh's connection that is looked at."""

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.7", 7411) if name == "peername" else None

    def close(self) -> None:
        pass


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def connection(control: Control) -> Connection:
    made = Connection(Ssh(), NodeId("a" * 52), (control, Bulk()), None, dialled=True)  # type: ignore[arg-type]
    made.phase = Session.TALKING
    return made


def test_a_peer_that_falls_silent_no_longer_makes_us_queue(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert connection.strain == (0.0, 0.0)
    connection.on_message(m.Strained(5, 40))
    assert connection.strain == (0.005, 0.04)
    now += 2.9
    assert connection.strain == (0.005, 0.04)
    now += 0.2
    assert connection.strain == (0.0, 0.0)
    connection.on_message(m.Strained(0, 40))
    connection.on_message(m.Strained(0, 0))
    assert connection.strain == (0.0, 0.0)


def test_a_stranger_who_has_not_said_hello_has_no_say_in_our_queues(connection: Connection) -> None:
    connection.phase = Session.GREETING
    with pytest.raises(ProtocolError, match="Strained"):
        connection.on_message(m.Strained(0, 40))
    assert connection.strain == (0.0, 0.0)


def test_a_peer_need_not_wait_for_words_of_ours_that_another_flow_holds_up(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide: list[bool] = []
    monkeypatch.setattr(connection._bulk, "widen", wide.append)
    connection.on_message(m.Strained(0, 40))  # into its link
    connection.on_message(m.Strained(40, 0))  # out of it
    connection.say_strained(18, 0)  # out of ours
    connection.on_message(m.Strained(0, 0))
    connection.say_strained(0, 18)
    assert wide == [True, False, True, True, False]


def test_a_peer_that_no_longer_says_so_gets_the_usual_window_back(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    wide: list[bool] = []
    monkeypatch.setattr(connection._bulk, "widen", wide.append)
    connection.on_message(m.Strained(0, 40))
    now += 2.9
    connection.on_message(m.Pong(1))
    now += 0.2
    connection.on_message(m.Pong(1))
    connection.on_message(m.Pong(1))
    assert wide == [True, False]


def test_our_own_strain_goes_out_as_it_was_found(connection: Connection, control: Control) -> None:
    connection.say_strained(0, 18)
    assert control.sent == [m.Strained(0, 18)]


@pytest.mark.anyio
@pytest.mark.parametrize(("code", "raised"), [("busy", Busy), ("refused", ProtocolError)])
async def test_a_peer_without_a_place_for_us_is_not_taken_for_one_that_refuses_us(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, code: str, raised: type[Exception]
) -> None:
    monkeypatch.setattr("dfedge.transfer.connection.shorten", lambda *_: None)
    monkeypatch.setattr(connection._bulk, "attach", lambda _: None, raising=False)
    connection.phase = Session.GREETING
    connection.on_message(m.Bye(code, "24 sessions are open already"))
    with pytest.raises(raised, match="24 sessions are open already") as caught:
        await connection.greet(m.Hello(m.PROTOCOL, bytes(16), "fleet", 7411, 24, "dfedge", b"", b""))
    assert type(caught.value) is raised
