"""What is asked of a deployment, and what it tells: orders, steps, outcomes."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from dfedge.core.errors import DfedgeError
from dfedge.jobs.destination import Destination
from dfedge.jobs.payload import Payload
from dfedge.jobs.probe import Shell
from dfedge.trust.certificate import DEFAULT_DAYS

Connect = Callable[[Destination], AbstractAsyncContextManager[Shell]]
Seen = Callable[[str], Awaitable[bool | None]]
"""Whether the operator's own agent is connected to that node id; None where no agent runs."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done on every host."""

    fleet: Path
    payload: Payload | None  # none: the file that is there stays, as for a renewal
    labels: Mapping[str, str] = field(default_factory=dict)
    days: int = DEFAULT_DAYS
    renew: bool = False  # new certificates, however long the old ones last
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step on a host, as it is told."""

    host: str
    step: str  # check, file, key, join, service, health, seen, failed
    did: str  # done, kept (it was so before), would, note
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a host."""

    host: str
    name: str = ""
    id: str = ""
    state: str = "failed"  # healthy, joined, would, failed
    ends: int | None = None  # seconds since 1970
    seen: bool | None = None  # None: nobody here to see it
    note: str = ""
    error: DfedgeError | None = None


Tell = Callable[[Step], None]
