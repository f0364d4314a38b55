"""Which images are here: the manifests folder and the index, kept as one."""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dfedge.core.errors import Refused
from dfedge.core.image.manifest import Manifest
from dfedge.core.seams import ImageId
from dfedge.core.units import full_digest
from dfedge.store.index import Index, Row
from dfedge.store.layout import Layout
from dfedge.store.shelf import Shelf


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is here, whole or in part. Times are seconds since 1970, sizes bytes."""

    image: ImageId
    name: str
    version: str
    created: int
    size: int
    held: int
    complete: bool
    pinned: bool
    signer: str
    last_used: float


def sweep(paths: Iterable[Path]) -> None:
    """Remove files and folders; what a failing disk keeps is found again."""
    for path in paths:
        with suppress(OSError):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


class Catalogue:
    """The images by id. What the files say wins over what the index says."""

    def __init__(self, layout: Layout, now: Callable[[], float]) -> None:
        self._layout = layout
        self._now = now
        self._uses: dict[ImageId, float] = {}  # not yet written
        self.shelf = Shelf(layout.manifests)
        self.rows: dict[ImageId, Row] = {}
        self.damaged: set[ImageId] = set()  # whole, says the index, but at the start files of theirs were gone
        self.index = Index(layout.index, self._entries)
        self.shelf.clean()
        self._reconcile()
        sweep(self.leftovers())

    def _reconcile(self) -> None:
        here, pinned, blobs = (
            self.shelf.images(),
            self.shelf.pinned(),
            {blob.name for blob in self._layout.blobs.iterdir()},
        )
        for row in self.index.rows():
            if row.image in here:
                self.rows[row.image] = row
            else:
                self.index.drop(row.image)
        for image in here - self.rows.keys():
            self._read(image)
        files = self.index.files()
        for row in list(self.rows.values()):
            complete = all(digest.hex() in blobs for digest, _ in files.get(row.image, ()))
            if row.complete and not complete:
                self.damaged.add(row.image)
            self._change(row, complete=complete, pinned=row.image in pinned)
            if complete and self._layout.partial_image(row.image).exists():  # killed between rename and index
                shutil.rmtree(self._layout.partial_image(row.image), ignore_errors=True)

    def leftovers(self, spare: Collection[str] = ()) -> list[Path]:
        """What belongs to no image: half published, half removed. `spare` are folders of what is being published.

        None where a manifest has rotted: it may come again, and its files be good still. Raises OSError.
        """
        if self.shelf.images() != self.rows.keys():
            return []
        files = {digest.hex() for found in self.index.files().values() for digest, _ in found}
        folders = {image.hex() for image in self.rows} | set(spare)
        return [*self._layout.strays(files, folders)]

    def _entries(self) -> Iterator[tuple[Row, Manifest]]:
        """What is known of the images, for an index that failed. Raises OSError where a manifest can't be read now."""
        for row in list(self.rows.values()):
            found = self.shelf.read(row.image)
            if found is not None:
                yield row, found[0]

    def _read(self, image: ImageId) -> None:
        found = self.shelf.read(image)
        if found is not None:
            self._enter(image, found[0], self.shelf.signer(image), self.shelf.added(image))

    def _enter(self, image: ImageId, manifest: Manifest, signer: str, added: float) -> None:
        row = Row(
            image, manifest.name, manifest.version, manifest.created, manifest.size, signer,
            complete=False, pinned=False, added=added, last_used=added,
        )  # fmt: skip
        self.index.add(row, manifest)
        self.rows[image] = row

    def rebuild(self) -> None:
        """Throw the index away and read it back from the files."""
        self.write_uses()
        self.index.close()
        Index.delete(self._layout.index)
        self.rows.clear()
        self.index = Index(self._layout.index, self._entries)
        self._reconcile()

    def refuse_other(self, image: ImageId, manifest: Manifest, signer: str) -> None:
        """Raises Refused if another image has this name and version."""
        for row in self.rows.values():
            if (row.name, row.version) == (manifest.name, manifest.version) and row.image != image:
                raise Refused(
                    f"{row.label}: is {full_digest(row.image)} here, signed by {row.signer or 'nobody we know'}, "
                    f"and {full_digest(image)}, signed by {signer}, would take its name",
                    hint=f"dfedge publish … --name {manifest.name} --version ANOTHER",
                )

    def add(self, image: ImageId, manifest: Manifest, signer: str) -> None:
        """Enter an image whose files are on the shelf."""
        self._enter(image, manifest, signer, self._now())

    def drop(self, image: ImageId) -> None:
        """Forget an image whose files have left the shelf."""
        self.index.drop(image)
        self.rows.pop(image, None)
        self._uses.pop(image, None)

    def set_complete(self, image: ImageId, complete: bool) -> None:
        """Every file of the image is a blob, or no longer is."""
        if image in self.rows:
            self._change(self.rows[image], complete=complete, pinned=self.rows[image].pinned)

    def set_pin(self, image: ImageId, pinned: bool) -> None:
        """Enter that an image has a pin on the shelf, or none."""
        if image in self.rows:
            self._change(self.rows[image], complete=self.rows[image].complete, pinned=pinned)

    def _change(self, row: Row, *, complete: bool, pinned: bool) -> None:
        if (row.complete, row.pinned) != (complete, pinned):
            row = replace(row, complete=complete, pinned=pinned)
            self.index.put(row)
            self.rows[row.image] = row

    def used(self, image: ImageId) -> bool:
        """Note that an image was used now; true says that it is the first use to be written."""
        row = self.rows.get(image)
        if row is None:
            return False
        self._uses[image] = when = max(self._now(), row.last_used)
        self.rows[image] = replace(row, last_used=when)
        return len(self._uses) == 1

    def write_uses(self) -> None:
        """Write the uses noted since the last time, if any."""
        if self._uses:
            self.index.touch(self._uses)
            self._uses = {}

    def close(self) -> None:
        """Write what is noted, and close the index."""
        self.write_uses()
        self.index.close()
