"""Mending: what a node believes of its own disk once something on it has rotted."""

from collections.abc import Mapping
from typing import Any, cast

import anyio
import pytest

from dfedge.core.seams import ImageId
from dfedge.jobs import mend
from dfedge.jobs.mend import Mender

pytestmark = pytest.mark.anyio
IMAGE = ImageId(bytes(32))


class _Doubting:
    """A store, or the swarms; both are told when what they have proven counts no more."""

    def __init__(self) -> None:
        self.doubts = 0

    def watch(self, watcher: object) -> None: ...

    def spoilt(self) -> Mapping[ImageId, float]:
        return {}

    def drive(self, image: ImageId) -> None: ...

    def doubt(self) -> None:
        self.doubts += 1


async def test_a_disk_that_has_lost_something_is_not_believed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next that rots on it goes out to neighbours, who ban the node."""
    monkeypatch.setattr(mend, "WARY_EVERY", 0.001)
    store, swarms, now = _Doubting(), _Doubting(), [1000.0]
    mender = Mender(
        cast("Any", store), cast("Any", None), cast("Any", swarms), cast("Any", None), float, lambda: now[0]
    )
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mender.run)
            await anyio.wait_all_tasks_blocked()
            assert (store.doubts, swarms.doubts) == (0, 0)
            mender.lost(IMAGE, (3,))
            assert swarms.doubts == 1
            while store.doubts < 3 or swarms.doubts < 4:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            now[0] += mend.WARY
            while mender._wary.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
