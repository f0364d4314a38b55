"""The manifests folder: each image's manifest, signature, signer and pin, as files.

`ID.manifest` makes an image exist: it is written last and removed first.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from dfedge.core.image.manifest import Manifest, image_id
from dfedge.core.seams import ImageId
from dfedge.store.fault import is_medium
from dfedge.store.layout import sync_folder, write_synced

log = logging.getLogger("dfedge.store")
CACHED: Final = 8  # manifests kept decoded; one of 20 GiB takes 1.5 MB
_SUFFIX: Final = ".manifest"
SHELF_FILES: Final = 3  # of an image without a pin
_BESIDE: Final = (".manifest.sig", ".signer", ".pin")


class Shelf:
    """Reads and writes the folder. A manifest that is not what its name says is removed, never shown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: OrderedDict[ImageId, tuple[Manifest, bytes, bytes]] = OrderedDict()

    def _path(self, image: ImageId, suffix: str) -> Path:
        return self._folder / (image.hex() + suffix)

    def images(self) -> set[ImageId]:
        """The images whose manifest is here."""
        return set(self._named(_SUFFIX))

    def has(self, image: ImageId) -> bool:
        """Whether the manifest of an image is here."""
        return self._path(image, _SUFFIX).exists()

    def pinned(self) -> set[ImageId]:
        """The images that must not be evicted."""
        return set(self._named(".pin"))

    def _named(self, suffix: str) -> Iterator[ImageId]:
        for path in self._folder.iterdir():
            stem = path.name.removesuffix(suffix)
            if stem != path.name and len(stem) == 64:
                with suppress(ValueError):
                    yield ImageId(bytes.fromhex(stem))

    def clean(self) -> None:
        """Remove what a killed agent left: drafts, and files beside a manifest that is gone."""
        images = {image.hex() for image in self.images()}
        for path in list(self._folder.iterdir()):
            if path.name.endswith(".tmp") or path.name.partition(".")[0] not in images:
                with suppress(OSError):  # a disk that takes no writes still gives what it has
                    path.unlink()

    def write(self, image: ImageId, raw: bytes, signature: bytes, signer: str) -> None:
        """Make an image exist, for good. Raises OSError."""
        write_synced(self._path(image, ".manifest.sig"), signature)
        write_synced(self._path(image, ".signer"), signer.encode("utf-8"))
        sync_folder(self._folder)
        write_synced(self._path(image, _SUFFIX), raw)
        sync_folder(self._folder)

    def read(self, image: ImageId) -> tuple[Manifest, bytes, bytes] | None:
        """The manifest, its bytes and its signature file; none where they are not here or not as written.

        Raises OSError where they can't be read just now.
        """
        found = self._cache.get(image)
        if found is not None:
            self._cache.move_to_end(image)
            return found
        try:
            raw = self._path(image, _SUFFIX).read_bytes()
            signature = self._path(image, ".manifest.sig").read_bytes()
            if image_id(raw) != image:
                raise ValueError("rotten")
            found = Manifest.decode(raw), raw, signature
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and not is_medium(error):
                raise
            log.error("manifest rotten image=%s removed=yes; fetch the image again", image.hex())
            with suppress(OSError):
                self.remove(image)
            return None
        self._cache[image] = found
        while len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return found

    def signer(self, image: ImageId) -> str:
        """Who signed it, as trust said when it came; empty where that is lost."""
        try:
            return self._path(image, ".signer").read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def added(self, image: ImageId) -> float:
        """When it came here, in seconds since 1970."""
        return self._path(image, _SUFFIX).stat().st_mtime

    def set_pin(self, image: ImageId, pinned: bool) -> None:
        """Write or remove the pin, for good."""
        if pinned:
            write_synced(self._path(image, ".pin"), b"")
        else:
            self._path(image, ".pin").unlink(missing_ok=True)
        sync_folder(self._folder)

    def remove(self, image: ImageId) -> None:
        """Let an image exist no more; its files are others' concern."""
        self._cache.pop(image, None)
        self._path(image, _SUFFIX).unlink(missing_ok=True)
        sync_folder(self._folder)
        for suffix in _BESIDE:
            self._path(image, suffix).unlink(missing_ok=True)
