"""The error family, on one page.

An error reads `subject: what is wrong, with the numbers`; lower case, no full stop. `hint` is a command to try.
A class exists only where a caller acts on it; its `code` is a promise to scripts (docs/operations.md lists them).
"""

from typing import ClassVar, Final

CODES: Final = (
    "no_peers",
    "untrusted",
    "no_space",
    "not_found",
    "timeout",
    "agent_down",
    "halted",
    "refused",
    "corrupt",
    "busy",
    "usage",
)


class DfedgeError(Exception):
    """Something a user is told in one line. `str(error)` is that line without the program's name and the code."""

    code: ClassVar[str] = "refused"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class NoPeers(DfedgeError):
    """Nobody to fetch from answered in the time given."""

    code = "no_peers"


class Untrusted(DfedgeError):
    """A key, certificate, signature or signed statement does not hold."""

    code = "untrusted"


class NoSpace(DfedgeError):
    """The disk or the quota is too small."""

    code = "no_space"


class NotFound(DfedgeError):
    """Nothing has that name."""

    code = "not_found"


class TimedOut(DfedgeError):
    """It took longer than the user allowed."""

    code = "timeout"


class AgentDown(DfedgeError):
    """No agent answers on the control socket."""

    code = "agent_down"


class Refused(DfedgeError):
    """We will not do it: a rule stands against it."""

    code = "refused"


class Corrupt(DfedgeError):
    """Stored or received bytes are not what they must be."""

    code = "corrupt"


class Busy(DfedgeError):
    """Somebody else holds what is needed."""

    code = "busy"


class UsageError(DfedgeError):
    """A wrong flag, value or setting; the process ends with 2."""

    code = "usage"


class ProtocolError(Corrupt):
    """A peer said what it must not. It ends that one connection, which puts the peer's name in front."""
