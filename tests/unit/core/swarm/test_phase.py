"""What a peer may say when: every pair of the tables is visited."""

import pytest

from dfedge.core.errors import ProtocolError
from dfedge.core.swarm.phase import MEMBERSHIP, SESSION, Membership, Phase, Session, advance
from dfedge.core.wire import message as m

MESSAGES: tuple[m.Message, ...] = (
    m.Hello(1, bytes(16), "fleet", 7411, 0, "dfedge/1", b"", b""),
    m.Revoked(b""),
    m.Catalogue(()),
    m.Dropped(()),
    m.AskManifest(bytes(32), 0),
    m.ManifestPart(bytes(32), 0, 0, b"", b""),
    m.Join(1, bytes(32), False, b""),
    m.Leave(1),
    m.Have(1, False, (1,)),
    m.Lost(1, (1,)),
    m.Choke(1),
    m.Unchoke(1),
    m.Bad(1, 1),
    m.Cancel(1, 1),
    m.Bye("busy", "too many"),
)
OF_A_SWARM = (m.Join, m.Leave, m.Have, m.Lost, m.Choke, m.Unchoke, m.Bad, m.Cancel)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("phase", [*Session, *Membership])
def test_what_is_not_in_the_table_ends_the_session(phase: Phase, message: m.Message) -> None:
    table = {(where, kind): after for where, kind, after in _rows()}
    after = table.get((phase, type(message)))
    if after is None:
        with pytest.raises(ProtocolError, match=f"{phase.value}: {type(message).__name__}"):
            advance(phase, message)
    else:
        assert advance(phase, message) is after


def _rows() -> list[tuple[Phase, type[m.Message], Phase]]:
    rows: list[tuple[Phase, type[m.Message], Phase]] = [(at, kind, to) for (at, kind), to in SESSION.items()]
    return rows + [(at, kind, to) for (at, kind), to in MEMBERSHIP.items()]


def test_nobody_speaks_before_hello_and_nobody_says_it_twice() -> None:
    allowed = {type(message) for message in MESSAGES if (Session.GREETING, type(message)) in SESSION}
    assert allowed == {m.Hello, m.Bye}
    assert (Session.TALKING, m.Hello) not in SESSION
    assert not any(phase is Session.ENDED for phase, _ in SESSION)


def test_only_a_join_opens_a_handle() -> None:
    assert {kind for phase, kind in MEMBERSHIP if phase is Membership.OUT} == {m.Join}
    assert {kind for _, kind in MEMBERSHIP} == set(OF_A_SWARM)
