"""What may be moved, each way: buckets in a tree, through all of which a byte passes.

    host ─┬─ LAN ────┬─ interface ─┬─ peer's lane ── image
          └─ uplink ─┘             └─ …

`transfer` holds a lane for each peer and knows no more. What a lane is told to have moved is payload; the kernel's
counters then say what it came to on the wire (headers, acknowledgements, what was sent twice), and the difference is
spent too, a little in each step, so that the sums are the interface's.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from dfedge.core.seams import Clock, ImageId
from dfedge.throttle.bucket import TokenBucket
from dfedge.throttle.policy import Policy
from dfedge.throttle.route import Route, Routes

GRAIN_S: Final = 0.02  # seconds of the rate that may be asked for or sent at once
LEAST_GRAIN: Final = 2048  # bytes
AHEAD_S: Final = 0.5  # seconds of the rate that may be asked for and not yet here
MOST_WAIT: Final = 0.2  # seconds: then ask again, as the rate may have changed
SETTLE: Final = 0.1  # of the difference between what was spent and what moved, in each step
MOST_IMAGES: Final = 256  # images with a rate of their own

_Chain = tuple[TokenBucket, ...]


class Lane:
    """One peer, one way."""

    def __init__(self, way: "Way", address: str) -> None:
        self.address = address
        self.moved = 0.0  # bytes on the wire, as the kernel counts them
        self._way = way
        self._spent = 0.0
        self.reroute()

    @property
    def route(self) -> Route:
        """Where its bytes go."""
        return self._way.routes.of(self.address)

    def wait(self, image: ImageId) -> float:
        """Seconds until bytes of the image may move; 0.0: now. Ask again after it."""
        way = self._way
        if way.paused or self._held:
            return MOST_WAIT
        now = way.clock()
        longest = 0.0
        for bucket in self._chain:
            wait = bucket.wait(now)
            longest = max(longest, wait)
        if way.images and image in way.images:
            longest = max(longest, way.images[image].wait(now))
        return min(longest, MOST_WAIT)

    def spend(self, nbytes: int, image: ImageId) -> None:
        """Bytes are moved, or asked for."""
        way = self._way
        now = way.clock()
        self._spent += nbytes
        for bucket in self._chain:
            bucket.spend(nbytes, now)
        if way.images and image in way.images:
            way.images[image].spend(nbytes, now)
        if way.is_quiet:
            way.is_quiet = False
            way.stirred()

    @property
    def rate(self) -> float:
        """The slowest of its buckets, in bytes/s; infinite: none holds."""
        slowest = math.inf
        for bucket in self._chain:
            slowest = min(slowest, bucket.rate)
        return slowest

    @property
    def grain(self) -> int | None:
        """The most to move at once, in bytes; None: as it comes."""
        rate = self.rate
        return None if rate == math.inf else max(LEAST_GRAIN, int(rate * GRAIN_S))

    @property
    def ahead(self) -> int | None:
        """The most to ask of all peers there and not have yet, in bytes; None: as it comes."""
        rate = self.rate
        return None if rate == math.inf else max(LEAST_GRAIN, int(rate * AHEAD_S))

    def settle(self, moved: float) -> None:
        """So many bytes went over the wire since the last step."""
        self.moved += moved
        way = self._way
        way.moved += moved
        if self._is_beyond:
            way.moved_beyond += moved
        if self.rate == math.inf:
            self._spent = self.moved
            return
        difference = (self.moved - self._spent) * SETTLE
        self._spent += difference
        now = way.clock()
        for bucket in self._chain:
            bucket.spend(difference, now)

    def reroute(self) -> None:
        """The routes may have changed, or where nothing may move."""
        way, route = self._way, self.route
        self._chain = way.chain(route)
        self._is_beyond = not route.on_link
        self._held = route.interface in way.metered or (way.uplink_held and self._is_beyond)


class Way:
    """One direction of the host: an `Allowances` for transfer."""

    def __init__(self, routes: Routes, stirred: Callable[[], None], clock: Clock) -> None:
        self.routes = routes
        self.clock = clock
        self.stirred = stirred  # called when bytes move again
        self.is_quiet = True  # set by whoever looks at us seldom
        self.paused = False
        self.uplink_held = False  # nothing may move beyond the LAN
        self.metered: tuple[str, ...] = ()  # interfaces on which nothing may move
        self.moved = 0.0  # bytes on the wire
        self.moved_beyond = 0.0  # of them beyond the LAN
        self.images: dict[ImageId, TokenBucket] = {}
        self._host, self._lan, self._uplink = TokenBucket(), TokenBucket(), TokenBucket()
        self._interfaces: dict[str, TokenBucket] = {}
        self._lanes: dict[str, Lane] = {}

    @contextmanager
    def lane(self, address: str) -> Iterator[Lane]:
        """A peer's lane, `address` as host:port, for as long as its session lasts."""
        lane = self._lanes[address] = Lane(self, address)
        try:
            yield lane
        finally:
            if self._lanes.get(address) is lane:
                del self._lanes[address]

    def find(self, address: str) -> Lane | None:
        """The lane of that address, if there is one."""
        return self._lanes.get(address)

    def chain(self, route: Route) -> _Chain:
        """The buckets on a route; the host's alone for ourselves."""
        if route.interface == "lo":
            return (self._host,)
        interface = self._interfaces.setdefault(route.interface, TokenBucket())
        return (self._host, self._lan if route.on_link else self._uplink, interface)

    def reroute(self) -> None:
        """The routes may have changed, or where nothing may move."""
        for lane in self._lanes.values():
            lane.reroute()

    def apply(self, policy: Policy, way: str, host: float, links: Mapping[str, float], *, paused: bool) -> None:
        """Set the rates in bytes/s: of the host, and of each interface. Infinite: none."""
        now = self.clock()
        self.paused = paused
        if (self.uplink_held, self.metered) != (bool(policy.uplink_held), policy.metered):
            self.uplink_held, self.metered = bool(policy.uplink_held), policy.metered
            self.reroute()
        rates = [(self._host, host), (self._lan, policy.lan.of(way)), (self._uplink, policy.uplink.of(way))]
        rates += [(bucket, links.get(name, math.inf)) for name, bucket in self._interfaces.items()]
        for bucket, rate in rates:
            if bucket.rate != rate:
                bucket.change(rate, now)

    def limit_image(self, image: ImageId, rate: float | None) -> None:
        """Give an image a rate of its own in bytes/s; None takes it away."""
        if rate is None:
            self.images.pop(image, None)
        elif image in self.images:
            self.images[image].change(rate, self.clock())
        elif len(self.images) < MOST_IMAGES:
            self.images[image] = TokenBucket(rate)


class Limiter:
    """Both ways of a host."""

    def __init__(self, routes: Routes, stirred: Callable[[], None], clock: Clock = time.monotonic) -> None:
        self.routes = routes
        self.up = Way(routes, stirred, clock)
        self.down = Way(routes, stirred, clock)
