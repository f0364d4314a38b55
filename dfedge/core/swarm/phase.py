"""What a peer may say when: two tables. What is not in them is not allowed; docs/protocol.md draws them.

A connection has one `Session` phase per direction. Each side chooses handles for the images it is in, and every
message that names one (Join, Have, Lost, Choke, Unchoke, Bad, Cancel, Leave) means the *sender's* handle: so each side
keeps one `Membership` phase per handle of the other.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, overload

from dfedge.core.errors import ProtocolError
from dfedge.core.wire.message import (
    AskManifest,
    Bad,
    Bye,
    Cancel,
    Catalogue,
    Choke,
    Contacts,
    Dropped,
    Found,
    Have,
    Hello,
    Join,
    Leave,
    Lost,
    ManifestPart,
    Message,
    Ping,
    Pong,
    Revoked,
    Seek,
    Strained,
    Unchoke,
    Warn,
)


class Session(Enum):
    """What the sender has said of itself."""

    GREETING = "greeting"  # nothing yet
    TALKING = "talking"
    ENDED = "ended"


class Membership(Enum):
    """How the sender stands in the swarm that one of its handles names."""

    OUT = "out"  # the handle is free
    CHOKED = "choked"  # joined; we may not ask it
    OPEN = "open"  # joined; it serves us


Phase = Session | Membership

_TALK: Final[tuple[type[Message], ...]] = (
    Revoked, Catalogue, Dropped, AskManifest, ManifestPart, Ping, Pong, Warn,
    Contacts, Seek, Found, Strained,
    Join, Leave, Have, Lost, Choke, Unchoke, Bad, Cancel,
)  # fmt: skip
_INSIDE: Final[tuple[type[Message], ...]] = (Have, Lost, Bad, Cancel)

SESSION: Final[Mapping[tuple[Session, type[Message]], Session]] = {
    (Session.GREETING, Hello): Session.TALKING,
    (Session.GREETING, Bye): Session.ENDED,
    (Session.TALKING, Bye): Session.ENDED,
    **{(Session.TALKING, kind): Session.TALKING for kind in _TALK},
}
MEMBERSHIP: Final[Mapping[tuple[Membership, type[Message]], Membership]] = {
    (Membership.OUT, Join): Membership.CHOKED,
    (Membership.CHOKED, Unchoke): Membership.OPEN,
    (Membership.OPEN, Choke): Membership.CHOKED,
    (Membership.CHOKED, Leave): Membership.OUT,
    (Membership.OPEN, Leave): Membership.OUT,
    **{(Membership.CHOKED, kind): Membership.CHOKED for kind in _INSIDE},
    **{(Membership.OPEN, kind): Membership.OPEN for kind in _INSIDE},
}


@overload
def advance(phase: Session, message: Message) -> Session: ...
@overload
def advance(phase: Membership, message: Message) -> Membership: ...
def advance(phase: Phase, message: Message) -> Phase:
    """The phase after a message. Raises ProtocolError that names the phase and the message if it is not allowed."""
    kind = type(message)
    after = SESSION.get((phase, kind)) if isinstance(phase, Session) else MEMBERSHIP.get((phase, kind))
    if after is None:
        where = "session" if isinstance(phase, Session) else "swarm"
        raise ProtocolError(f"{where} is {phase.value}: {kind.__name__} is not allowed there")
    return after
