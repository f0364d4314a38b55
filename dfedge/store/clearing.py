"""Making room: what is removed, what is evicted, what nothing refers to any more."""

import logging
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import NotFound, Refused
from dfedge.core.seams import ImageId
from dfedge.core.units import short_digest
from dfedge.store.catalogue import Catalogue
from dfedge.store.content import Shared
from dfedge.store.eviction import NOTHING, Candidate, Evicted, Eviction, Room, freed, plan, total
from dfedge.store.index import Row
from dfedge.store.layout import STAGE_PREFIX, sync_folder
from dfedge.store.quota import Limits, Usage, measure
from dfedge.store.refusal import PINNED, names, no_space
from dfedge.store.shelf import SHELF_FILES

_NEWCOMER: Final = b"newcomer"  # stands for the image that room is made for
log = logging.getLogger("dfedge.store")


@dataclass(frozen=True, slots=True)
class Cleared:
    """What goes, or would; why anything has to (empty: nothing has to); and what is short even so."""

    gone: tuple[Eviction, ...]
    because: str
    short: str


class Clearing:
    """Removes images. All its coroutines are called one at a time: the store's admission lock is held."""

    def __init__(
        self,
        shared: Shared,
        catalogue: Catalogue,
        limits: Limits,
        kept: Callable[[ImageId], str],
        staged: Callable[[], Room],
        dropped: Callable[[ImageId], None],
    ) -> None:
        """`kept` says why an image is in use, `staged` what open stages have yet to write."""
        self._shared = shared
        self._catalogue = catalogue
        self._limits = limits
        self._kept = kept
        self._staged = staged
        self._dropped = dropped
        self._was_free: Room | None = None  # when `relieve` last looked
        self.evicted = Evicted()
        self.shortage = ""  # what lacks though all was given back that may go

    def usage(self) -> Usage:
        """Look at the disk."""
        return measure(self._shared.layout, self._limits, self._staged())

    async def make_room(
        self, label: str, need: Room, reuses: Collection[bytes] = (), spare: ImageId | None = None, resumed: int = 0
    ) -> None:
        """See that `need` more fits, by evicting where that does it. Raises NoSpace before anything is touched.

        `reuses` are blobs that the newcomer will share, `spare` is an image that must stay, and `resumed` what partial
        files that are here already have yet to take, in bytes. What takes nothing more is never refused.
        """
        usage = await self._shared.work(self.usage)
        lack, wish = usage.lacking(need), usage.wished(need)
        if lack == NOTHING and not wish:
            return
        images = self._candidates(spare)
        newcomer = self._newcomer(label, images, reuses)
        chosen = plan([*images, newcomer], lack, wish)
        takes = need + Room(resumed)
        if takes != NOTHING and not total(chosen).covers(lack):
            others = [one for one in images if one.image != spare]
            raise no_space(self._shared.layout.state, label, takes, usage, lack, [*others, newcomer])
        await self._evict(chosen, f"room for {label}")

    def _newcomer(self, label: str, images: Sequence[Candidate], reuses: Collection[bytes]) -> Candidate:
        sizes = {digest: nbytes for one in images for digest, nbytes in one.files}
        shares = tuple((digest, sizes[digest]) for digest in reuses if digest in sizes)
        return Candidate(_NEWCOMER, label, math.inf, "arriving", shares)

    def _candidates(self, spare: ImageId | None = None) -> list[Candidate]:
        files = self._catalogue.index.files()
        return [
            Candidate(
                row.image, row.label, row.last_used, self._why_kept(row, spare),
                self._blobs(row, files.get(row.image, [])), self._own(row),
            )
            for row in self._catalogue.rows.values()
        ]  # fmt: skip

    def _why_kept(self, row: Row, spare: ImageId | None) -> str:
        if row.pinned:
            return PINNED
        return self._kept(row.image) or ("arriving" if row.image == spare else "")

    def _own(self, row: Row) -> Room:
        folder = self._shared.layout.partial_image(row.image)
        return Room(0, SHELF_FILES) + (NOTHING if row.complete else _folder_room(folder))

    def _blobs(self, row: Row, files: list[tuple[bytes, int]]) -> tuple[tuple[bytes, int], ...]:
        if row.complete:
            return tuple(files)
        return tuple(one for one in files if self._shared.layout.blob(one[0]).exists())

    async def remove(self, image: ImageId) -> int:
        """Remove an image for a user; returns the bytes freed. Raises NotFound; Refused if pinned or in use."""
        row = self._catalogue.rows.get(image)
        if row is None:
            raise NotFound(f"{short_digest(image)}: is not in this store", hint="dfedge ls")
        if row.pinned:
            raise Refused(f"{row.label}: is pinned", hint=f"dfedge unpin {row.label}")
        why = self._kept(image)
        if why:
            raise Refused(f"{row.label}: is in use ({why})", hint=f"dfedge why {row.label}")
        images = self._candidates()
        room = freed(images, [one for one in images if one.image == image])
        await self.evict(image)
        return room.nbytes

    async def evict(self, image: ImageId) -> None:
        """Remove an image and the files that only it has. Killed half-way, `collect` finds the rest."""
        layout = self._shared.layout
        self._dropped(image)
        paths = [layout.blob(digest) for digest in self._catalogue.index.unshared(image)]
        try:
            await self._shared.work(self._catalogue.shelf.remove, image)
        finally:  # a row without a manifest would pass for an image that is here
            if not self._catalogue.shelf.has(image):
                self._catalogue.drop(image)
        await self._shared.work(self._delete, [*paths, layout.partial_image(image)])

    def _delete(self, paths: Collection[Path]) -> None:
        for path in paths:
            self._shared.files.forget(path)
            if path.is_dir():
                for inside in path.iterdir():
                    self._shared.files.forget(inside)
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        sync_folder(self._shared.layout.blobs)
        sync_folder(self._shared.layout.partial)

    async def _evict(self, evictions: Iterable[Eviction], because: str) -> None:
        for one in evictions:
            if one.image is not None:
                await self.evict(ImageId(one.image))
                self.evicted = self.evicted.and_one(one, because)
                what = (one.label, one.room.nbytes, because, one.reason)
                log.info("evicted image=%s bytes=%d because=%r reason=%r", *what)

    async def collect(self, dry_run: bool) -> Cleared:
        """Remove what belongs to no image, then evict until quota and keep_free hold; returns what and why."""
        wanted = {digest.hex() for files in self._catalogue.index.files().values() for digest, _ in files}
        known = {image.hex() for image in self._catalogue.rows}
        found = await self._shared.work(self._leftovers, wanted, known)
        usage = await self._shared.work(self.usage)
        leftovers, because = [one for _, one in found], usage.pressure()
        easier = total(leftovers)
        lack = usage.lacking() - easier
        images = self._candidates()
        chosen = plan(images, lack, usage.wished() - easier.nbytes)
        self.shortage = _shortage(self._shared.layout.state, usage, images, lack - total(chosen))
        if not dry_run:
            await self._shared.work(self._delete, [path for path, _ in found])
            await self._evict(chosen, because)
        return Cleared((*leftovers, *chosen), because, self.shortage)

    async def relieve(self) -> tuple[Eviction, ...]:
        """Give back what the disk needs, if it has become fuller; returns what went. Cheap where it has not."""
        disk = await self._shared.work(os.statvfs, self._shared.layout.state)
        free = Room(disk.f_bavail * disk.f_frsize, disk.f_favail)
        gone: tuple[Eviction, ...] = ()
        if self._was_free is None or self.shortage or not free.covers(self._was_free):
            if (await self._shared.work(self.usage)).pressure():
                gone = (await self.collect(dry_run=False)).gone
            else:
                self.shortage = ""
        self._was_free = free
        return gone

    def _leftovers(self, wanted: set[str], known: set[str]) -> list[tuple[Path, Eviction]]:
        layout = self._shared.layout
        strays = (path for path in layout.strays(wanted, known) if not path.name.startswith(STAGE_PREFIX))
        return [(path, _leftover(path, is_blob=path.parent == layout.blobs)) for path in strays]


def _leftover(path: Path, *, is_blob: bool) -> Eviction:
    if is_blob:
        return Eviction(None, f"sha256:{path.name[:12]}", Room(path.lstat().st_size, 1), "no image has this file")
    return Eviction(None, f"partial {path.name[:12]}", _folder_room(path), "no image is being fetched there")


def _folder_room(folder: Path) -> Room:
    if not folder.is_dir():
        return NOTHING
    return sum((Room(path.lstat().st_size, 1) for path in folder.iterdir()), Room(0, 1))


def _shortage(state: Path, usage: Usage, images: Sequence[Candidate], lack: Room) -> str:
    """What lacks once all is gone that may go; empty where nothing does."""
    if NOTHING.covers(lack):
        return ""
    kept = [f"{one.label} is {one.kept}" for one in images if one.kept]
    why = names(kept) if kept else "the store holds no image that could go"
    return f"{state}: {usage.pressure()}; nothing more can be evicted: {why}"
