"""Making room: what is removed, what is evicted, what nothing refers to any more."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from dfedge.core.errors import NotFound, Refused
from dfedge.core.seams import ImageId
from dfedge.core.units import short_digest
from dfedge.store.catalogue import Catalogue
from dfedge.store.content import Shared
from dfedge.store.eviction import Candidate, Eviction, freed, plan
from dfedge.store.index import Row
from dfedge.store.layout import STAGE_PREFIX, sync_folder
from dfedge.store.quota import Usage, measure, no_space

_NEWCOMER: Final = b"newcomer"  # stands for the image that room is made for


class Clearing:
    """Removes images. All its coroutines are called one at a time: the store's admission lock is held."""

    def __init__(
        self,
        shared: Shared,
        catalogue: Catalogue,
        limits: tuple[int | None, int],
        in_use: Callable[[ImageId], bool],
        staged: Callable[[], int],
        dropped: Callable[[ImageId], None],
    ) -> None:
        """`limits` are quota and keep_free in bytes; `staged` says what open stages have yet to write."""
        self._shared = shared
        self._catalogue = catalogue
        self._limits = limits
        self._in_use = in_use
        self._staged = staged
        self._dropped = dropped

    def usage(self) -> Usage:
        """Look at the disk."""
        return measure(self._shared.layout, *self._limits, self._staged())

    async def make_room(
        self, label: str, need: int, reuses: Collection[bytes] = (), spare: ImageId | None = None
    ) -> None:
        """See that `need` more bytes fit, by evicting where that does it. Raises NoSpace before anything is touched.

        `reuses` are blobs that the newcomer will share and `spare` an image that must stay.
        """
        usage = await self._shared.work(self.usage)
        lack = usage.lacking(need)
        if lack <= 0:
            return
        candidates = self._candidates(spare)
        sizes = {digest: nbytes for one in candidates for digest, nbytes in one.files}
        kept = tuple((digest, sizes[digest]) for digest in reuses if digest in sizes)
        candidates.append(Candidate(_NEWCOMER, label, 0.0, pinned=False, in_use=True, files=kept))
        chosen = plan(candidates, lack)
        if sum(one.nbytes for one in chosen) < lack:
            raise no_space(self._shared.layout.state, label, need, usage, chosen)
        for one in chosen:
            if one.image is not None:
                await self.evict(ImageId(one.image))

    def _candidates(self, spare: ImageId | None) -> list[Candidate]:
        files = self._catalogue.index.files()
        return [
            Candidate(
                row.image, row.label, row.last_used, row.pinned, self._in_use(row.image) or row.image == spare,
                self._blobs(row, files.get(row.image, [])), _folder_bytes(self._shared.layout.partial_image(row.image)),
            )
            for row in self._catalogue.rows.values()
        ]  # fmt: skip

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
        if self._in_use(image):
            raise Refused(f"{row.label}: is in use", hint=f"dfedge why {row.label}")
        candidates = self._candidates(None)
        nbytes = freed(candidates, [one for one in candidates if one.image == image])
        await self.evict(image)
        return nbytes

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

    async def collect(self, dry_run: bool) -> list[Eviction]:
        """Remove what belongs to no image, then evict until quota and keep_free hold; returns what and why."""
        wanted = {digest.hex() for files in self._catalogue.index.files().values() for digest, _ in files}
        fetched = {image.hex() for image, row in self._catalogue.rows.items() if not row.complete}
        leftovers = await self._shared.work(self._leftovers, wanted, fetched)
        lack = self.usage().lacking(0) - sum(one.nbytes for _, one in leftovers)
        evictions = plan(self._candidates(None), lack)
        if not dry_run:
            await self._shared.work(self._delete, [path for path, _ in leftovers])
            for one in evictions:
                if one.image is not None:
                    await self.evict(ImageId(one.image))
        return [*(one for _, one in leftovers), *evictions]

    def _leftovers(self, wanted: set[str], fetched: set[str]) -> list[tuple[Path, Eviction]]:
        layout = self._shared.layout
        found = []
        for path in layout.blobs.iterdir():
            if path.name not in wanted:
                reason = "no image has this file"
                found.append((path, Eviction(None, f"sha256:{path.name[:12]}", path.lstat().st_size, reason)))
        for path in layout.partial.iterdir():
            if path.name not in fetched and not path.name.startswith(STAGE_PREFIX):
                reason = "no image is being fetched there"
                found.append((path, Eviction(None, f"partial {path.name[:12]}", _folder_bytes(path), reason)))
        return found


def _folder_bytes(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.lstat().st_size for path in folder.iterdir())
