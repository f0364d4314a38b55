"""A peer in the swarm of one image: the handles both sides use, and what was said of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dfedge.core.errors import Busy, ProtocolError
from dfedge.core.seams import ImageId
from dfedge.core.swarm.phase import Membership
from dfedge.core.wire import message as m
from dfedge.transfer.connection import Connection

MAX_SWARMS: Final = 64  # swarms with one peer from which on we join no more
MOST_SWARMS: Final = 2 * MAX_SWARMS  # from which on the peer may not; two honest ones who join at once stay below it.
# Each may keep a piece map of 62,500 bytes.


@dataclass(slots=True, eq=False)
class Member:
    """One peer and one image."""

    connection: Connection
    image: ImageId
    ours: int | None = None  # our handle, once we joined
    theirs: int | None = None  # the peer's, once it joined
    join: m.Join | None = None  # what the peer joined with, and has shown since
    late: list[m.Message] = field(default_factory=list)  # what it said before we took part; bounded by its pieces
    phase_in: Membership = Membership.OUT  # what the peer may say
    left: bool = False  # we left, and the peer's own Leave is still to come: what it joined with is over


class Handles:
    """The members of one connection, by image and by the peer's handle."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_image: dict[ImageId, Member] = {}
        self._by_theirs: dict[int, Member] = {}
        self._ours: set[int] = set()

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._by_image.values()))

    def of(self, image: ImageId) -> Member:
        """The member of that image, made if there was none. Raises Busy beyond what we take part in."""
        if image not in self._by_image and len(self._by_image) >= MAX_SWARMS:
            raise Busy(f"peer {self._connection.name}: in {MAX_SWARMS} swarms with us already")
        return self._member(image)

    def _member(self, image: ImageId) -> Member:
        return self._by_image.setdefault(image, Member(self._connection, image))

    def find(self, image: ImageId) -> Member | None:
        """The member of that image, if there is one."""
        return self._by_image.get(image)

    def theirs(self, handle: int) -> Member:
        """The member that the peer's handle stands for. Raises ProtocolError."""
        member = self._by_theirs.get(handle)
        if member is None:
            raise ProtocolError(f"names handle {handle}, which it has not joined with")
        return member

    def asked(self, handle: int) -> Member | None:
        """The member that a request names, unless the peer has left meanwhile."""
        return self._by_theirs.get(handle)

    def joined(self, join: m.Join) -> Member:
        """The peer joined. Raises ProtocolError if the handle or the image is in use, or beyond the bound."""
        if len(self._by_image) >= MOST_SWARMS:
            raise ProtocolError(f"is in more than {MOST_SWARMS} swarms at once")
        member = self._member(ImageId(join.image))
        if join.handle in self._by_theirs or member.theirs is not None:
            raise ProtocolError(f"joins twice with handle {join.handle}")
        member.theirs, member.join = join.handle, join
        self._by_theirs[join.handle] = member
        return member

    def left(self, member: Member) -> None:
        """The peer left."""
        if member.theirs is not None:
            del self._by_theirs[member.theirs]
        member.theirs = member.join = None
        member.left = False
        member.late.clear()
        self._drop_if_empty(member)

    def take(self, member: Member) -> int:
        """Give ourselves a handle for that image."""
        handle = next(number for number in range(m.MAX_HANDLE) if number not in self._ours)
        self._ours.add(handle)
        member.ours = handle
        return handle

    def leave(self, member: Member) -> None:
        """We left."""
        if member.ours is not None:
            self._ours.discard(member.ours)
        member.ours = None
        self._drop_if_empty(member)

    def _drop_if_empty(self, member: Member) -> None:
        if member.ours is None and member.theirs is None:
            self._by_image.pop(member.image, None)
