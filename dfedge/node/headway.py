"""How far an image is, told to whoever waits for it: on its way to a stick, from one, or into the store."""

import time
from collections.abc import Mapping
from typing import Final

from dfedge.core.seams import Clock
from dfedge.node.control import Call

TELL_EVERY: Final = 0.25  # seconds


class Headway:
    """Of one image after another."""

    def __init__(self, call: Call, clock: Clock = time.monotonic) -> None:
        self._call = call
        self._clock = clock
        self._label = ("", "")  # name and version of the one under way
        self._began = self._ended = clock()
        self._told = -TELL_EVERY

    async def tell(
        self,
        name: str,
        version: str,
        *,
        total: int,
        done: int,
        reused: int = 0,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Send an event, four times a second and once an image is there; sizes in bytes, `more` goes with it.

        `rate` in it is bytes/s since the image began, `eta` seconds.
        """
        now = self._clock()
        if (name, version) != self._label:
            self._label, self._began = (name, version), self._ended
        self._ended = now
        if now - self._told < TELL_EVERY and done < total:
            return
        self._told = now
        rate = (done - reused) / max(now - self._began, 0.001)
        await self._call.emit(
            {
                "type": "progress",
                "name": name,
                "version": version,
                "bytes_total": total,
                "bytes_done": done,
                "bytes_reused": reused,
                "rate": round(rate),
                "eta": round((total - done) / rate, 1) if rate > 0 else None,
                **(more or {}),
            }
        )
