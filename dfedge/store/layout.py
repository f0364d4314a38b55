"""Where things lie under the state folder, and that the folder is ours alone."""

import os
import stat
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Refused
from dfedge.core.seams import ImageId

STAGE_PREFIX: Final = "stage-"  # of the folders of images that are being published


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the store. Making one touches nothing; `prepare` makes the folders."""

    state: Path

    @property
    def blobs(self) -> Path:
        """Complete files by digest, as in an OCI image layout."""
        return self.state / "blobs" / "sha256"

    @property
    def manifests(self) -> Path:
        """Manifests, their signatures, signers and pins."""
        return self.state / "manifests"

    @property
    def partial(self) -> Path:
        """A folder for each image that is still being fetched or published."""
        return self.state / "partial"

    @property
    def index(self) -> Path:
        """The SQLite database; it holds nothing that the files can't give back."""
        return self.state / "index.sqlite3"

    @property
    def lock(self) -> Path:
        """Held by the one agent of this state folder."""
        return self.state / "lock"

    @property
    def scrub(self) -> Path:
        """How far the store was read again, and when."""
        return self.state / "scrub"

    def blob(self, digest: bytes) -> Path:
        """The complete file of this SHA-256."""
        return self.blobs / digest.hex()

    def partial_image(self, image: ImageId) -> Path:
        """The folder of an image that is still being fetched."""
        return self.partial / image.hex()

    def strays(self, digests: Container[str], images: Container[str]) -> Iterator[Path]:
        """Blobs of other digests than these, and partial folders of other images, in hex. Raises OSError."""
        for folder, known in ((self.blobs, digests), (self.partial, images)):
            yield from (path for path in folder.iterdir() if path.name not in known)

    def prepare(self) -> None:
        """Make the folders, 0700. Raises Refused where one is a link, not ours, or writable by others."""
        make_own_folder(self.state)
        for folder in self._inner:
            make_own_folder(folder)

    @property
    def _inner(self) -> tuple[Path, ...]:
        return self.state / "blobs", self.blobs, self.manifests, self.partial

    def sync(self) -> None:
        """Make all names in the folders survive a power cut, also those of an agent that was killed. Raises OSError."""
        for folder in (self.state, *self._inner):
            sync_folder(folder)


def make_own_folder(path: Path) -> None:
    """Make a folder, 0700, or check one that is there. Raises Refused that says what is wrong with it, OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise Refused(f"{path}: can't be made a folder: {error.strerror}", hint=f"ls -ld {path}") from error
    if stat.S_ISLNK(found.st_mode):
        raise Refused(f"{path}: is a link to {path.readlink()}, a folder of ours must not be one", hint=f"rm {path}")
    if found.st_uid != os.geteuid():
        raise Refused(f"{path}: belongs to uid {found.st_uid}, we are uid {os.geteuid()}", hint=f"ls -ld {path}")
    if found.st_mode & 0o022:
        raise Refused(
            f"{path}: others may write to it (mode {stat.S_IMODE(found.st_mode):04o})", hint=f"chmod go-w {path}"
        )


def has_size(path: Path, size: int) -> bool:
    """Whether a file is there, of just this many bytes."""
    try:
        return path.lstat().st_size == size
    except FileNotFoundError:
        return False


def lacking_bytes(path: Path) -> int:
    """How many bytes of a file's length the disk has not given yet; 0 where there is no such file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return max(0, found.st_size - found.st_blocks * 512)


def sync_folder(path: Path) -> None:
    """Make names made, renamed or removed in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """Write a small file so that after a power cut it is there whole or not at all; its folder is not synced.

    Raises OSError; then nothing has changed.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
