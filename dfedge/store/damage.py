"""What has rotted: who is told of it, and that an image was whole here, which survives a restart."""

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, Protocol

from dfedge.core.errors import DfedgeError
from dfedge.core.seams import ImageId
from dfedge.store.layout import Layout, make_own_folder

MARK: Final = "rotten"  # a file beside a partial image that was whole, since its date
log = logging.getLogger("dfedge.store")


class RotWatcher(Protocol):
    """Who is told of what rots."""

    def lost(self, image: ImageId, pieces: Collection[int]) -> None:
        """These pieces have just left the map."""
        ...

    def rotted(self, image: ImageId, path: str, pieces: int) -> None:
        """So many pieces of that file are to be fetched again; those that are good may be served."""
        ...

    def mended(self, image: ImageId) -> None:
        """The image is whole again, as another that has its files was mended."""
        ...


class Damages:
    """Which images are spoilt. It tells its watchers, in the order in which they came."""

    def __init__(
        self,
        layout: Layout,
        now: Callable[[], float],
        fault: Callable[[str, OSError], DfedgeError],
        fail: Callable[[str], None],
    ) -> None:
        """`now` tells seconds since 1970; `fault` and `fail` note that the disk failed."""
        self._layout = layout
        self._now = now
        self._fault = fault
        self._fail = fail
        self._watchers: list[RotWatcher] = []
        self._unmarked: dict[ImageId, float] = {}  # spoilt, and the disk did not let us write it down

    def watch(self, watcher: RotWatcher) -> None:
        """Have somebody told of what rots, on the event loop."""
        self._watchers.append(watcher)

    def lost(self, image: ImageId, pieces: Collection[int]) -> None:
        """These pieces have left the map."""
        for watcher in self._watchers:
            watcher.lost(image, pieces)

    def rotted(self, image: ImageId, label: str, path: str, pieces: int) -> None:
        """So many pieces of that file are to be fetched again."""
        log.error("rotten image=%s file=%s pieces=%d", label, path, pieces)
        for watcher in self._watchers:
            watcher.rotted(image, path, pieces)

    def mended(self, image: ImageId) -> None:
        """The image is whole again, as another that has its files was mended."""
        self.forget(image)
        for watcher in self._watchers:
            watcher.mended(image)

    def mark(self, image: ImageId) -> None:
        """Write down that an image was whole here; where the disk takes no writes, when `mark_again` finds it well."""
        mark = self._mark_of(image)
        self._unmarked.setdefault(image, self._now())
        try:
            make_own_folder(mark.parent)
            mark.touch(0o600)
        except OSError as error:
            self._fault("can't be written", error)
        except DfedgeError as error:
            self._fail(str(error))
        else:
            del self._unmarked[image]

    def mark_again(self) -> None:
        """Write down what the disk refused."""
        for image in list(self._unmarked):
            self.mark(image)

    def forget(self, image: ImageId) -> None:
        """An image is whole, or gone; its mark went with its folder."""
        self._unmarked.pop(image, None)

    def since(self, incomplete: Iterable[ImageId]) -> dict[ImageId, float]:
        """Those of these images that were whole here until some of them rotted: when, in seconds since 1970."""
        found = {}
        for image in incomplete:
            try:
                found[image] = self._mark_of(image).stat().st_mtime
            except FileNotFoundError:
                if image in self._unmarked:
                    found[image] = self._unmarked[image]
            except OSError as error:
                self._fault("can't be read", error)
        return found

    def _mark_of(self, image: ImageId) -> Path:
        return self._layout.partial_image(image) / MARK
