"""Watching: takes in the bundles that appear in folders that the settings name, such as where sticks are mounted."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from dfedge.core.errors import DfedgeError
from dfedge.core.image.bundle import NAME, part_name
from dfedge.jobs.bundle_import import Importer, Taken
from dfedge.store.bundle import open_regular

LOOK_EVERY: Final = 2.0  # seconds
MOST_FOLDERS: Final = 64  # looked into below each that is named
Identity = tuple[int, int, int, int]
log = logging.getLogger("dfedge.import")


class Watch:
    """Looks for `bundle.dfedge` in each folder and in the folders right below it, where sticks are mounted.

    A file is taken in once it is the same at two looks, and again when it was changed or went away in between.
    """

    def __init__(self, folders: Sequence[Path], importer: Importer) -> None:
        self._folders = folders
        self._importer = importer
        self._seen: dict[Path, Identity] = {}
        self._done: dict[Path, Identity] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            found = await to_thread.run_sync(_look, self._folders)
            self._done = {path: was for path, was in self._done.items() if found.get(path) == was}
            for path, identity in found.items():
                if self._seen.get(path) == identity and path not in self._done:
                    self._done[path] = identity
                    await self._take_in(path)
            self._seen = found
            await anyio.sleep(LOOK_EVERY)

    async def _take_in(self, first: Path) -> None:
        async def open_part(number: int) -> int | None:
            return await to_thread.run_sync(open_regular, first.with_name(part_name(first.name, number)))

        log.info("import begun path=%s", first)
        try:
            done = await self._importer.take_in(open_part, _silent)
        except (DfedgeError, OSError) as error:
            log.warning("import failed path=%s reason=%s", first, error)
        except BaseExceptionGroup as errors:
            _, others = errors.split(DfedgeError)
            if others is not None:
                raise others from None
            log.warning("import failed path=%s reason=%s", first, errors.exceptions[0])
        else:
            for image in done.images:
                log.info("imported image=%s:%s complete=%s", image.name, image.version, image.complete)
            if done.cut:
                log.warning("import cut short path=%s reason=%s", first, done.cut)


async def _silent(_taken: Taken) -> None:
    """What becomes of it is logged at the end."""


def _look(folders: Sequence[Path]) -> dict[Path, Identity]:
    found = {}
    for folder in folders:
        for place in (folder, *_below(folder)):
            path = place / NAME
            try:
                state = path.lstat()
            except OSError:  # not there, or a stick that is just pulled out
                continue
            found[path] = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
    return found


def _below(folder: Path) -> list[Path]:
    below: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                if len(below) == MOST_FOLDERS:
                    break
    except OSError:
        pass
    return below
