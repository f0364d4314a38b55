"""What time it is, for trust: never before what signed statements have proven. The only reader of the wall clock.

Boards without a clock start in 1970. Their floor is the build time of this program, then the newest time of a verified
signature; certificates are judged by max(clock, floor).
"""

import time
from collections.abc import Callable
from typing import Final

from dfedge.core.errors import Untrusted
from dfedge.trust.floor import Floors
from dfedge.trust.lean import asyncssh_lean

asyncssh_lean()

import asyncssh  # noqa: E402
import asyncssh.public_key  # noqa: E402

BUILT: Final = 1_793_491_200  # 2026-11-01: no earlier than this can it be where this program runs
FLOOR: Final = "time"
MARGIN: Final = 30 * 86_400  # seconds before our own certificate's end at which the floor stops rising
KEEP_EVERY: Final = 3_600  # seconds the floor must rise by before a mere manifest has it written


def wall_time() -> int:
    """Seconds since 1970 by this host's clock, but no earlier than this program."""
    return max(int(time.time()), BUILT)  # noqa: TID251  # this is the one place


class TrustClock:
    """max(wall clock, time floor).

    A verified signature raises the floor to its time, but never beyond 30 days before our own certificate ends: one
    signer whose clock is ten years ahead must not shut us out. The wall clock never raises it, for nobody vouches
    for that one.
    """

    def __init__(self, floors: Floors, own_end: int, wall: Callable[[], float] = time.time) -> None:  # noqa: TID251
        self._floors = floors
        self._highest = max(BUILT, own_end - MARGIN)
        self._wall = wall
        self._kept = floors.get(FLOOR)[1]
        self._floor = max(BUILT, min(self._kept, self._highest))  # it may come from another fleet's certificate

    @property
    def floor(self) -> int:
        """Seconds since 1970 that it is at least."""
        return self._floor

    def now(self) -> float:
        """Seconds since 1970, as trust sees it."""
        return max(self._wall(), float(self._floor))

    def proven(self, when: int, *, keep: bool) -> None:
        """Raise the floor to the time of a verified signature.

        With `keep` it is on disk before this returns, else once it is an hour above what is there. Raises what
        `Floors.raise_to` raises.
        """
        self._floor = max(self._floor, min(when, self._highest))
        if self._floor > self._kept and (keep or self._floor >= self._kept + KEEP_EVERY):
            self._kept = self._floor
            self._floors.raise_to(FLOOR, (0, self._floor))


class _AsyncsshTime:
    """Stands for the `time` module inside asyncssh.public_key, which judges certificates by `time.time()`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def time(self) -> float:
        return self.now()

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


def rule_asyncssh(now: Callable[[], float], certificate: asyncssh.SSHCertificate, starts: int, ends: int) -> None:
    """Make asyncssh judge certificates by `now`, for this whole process.

    Proves with `certificate`, which is valid from `starts` to `ends`, that it does. Raises Untrusted if this asyncssh
    looks at the time in another way.
    """
    shim = _AsyncsshTime(lambda: float(starts))
    vars(asyncssh.public_key)["time"] = shim  # the module uses it for time.time() alone
    try:
        if not _passes(certificate):
            raise Untrusted("asyncssh: does not judge certificates by our clock", "pip install 'asyncssh>=2.24.1'")
        shim.now = lambda: float(ends)
        if _passes(certificate):
            raise Untrusted("asyncssh: does not judge certificates by our clock", "pip install 'asyncssh>=2.24.1'")
    finally:
        shim.now = now


def _passes(certificate: asyncssh.SSHCertificate) -> bool:
    assert isinstance(certificate, asyncssh.public_key.SSHOpenSSHCertificate)
    try:
        certificate.validate(asyncssh.public_key.CERT_TYPE_ANY, None)
    except ValueError:
        return False
    return True
