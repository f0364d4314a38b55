"""The versions of dfedge on this host, each a folder named by the SHA-256 of its one file.

A version is written beside the others, synced, and only then gets its name; a folder with a name is whole.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Final

from dfedge.core.errors import Busy, Corrupt, Refused
from dfedge.core.units import size
from dfedge.install import guard

FILE: Final = "dfedge.pyz"
MAX_FILE: Final = 128 * 1024 * 1024  # bytes; a build is 10 MB
LOCK_WAIT_S: Final = 5.0  # the guard holds the lock for milliseconds
_NEW: Final = ".new-"
_NAME: Final = re.compile(r"[0-9a-f]{16}")
_CHUNK: Final = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Version:
    """One of them."""

    id: str  # the first 16 hex digits of the file's SHA-256
    file: Path
    number: str  # what its `--version` says

    @property
    def label(self) -> str:
        """As people see it: `0.1.0 (9f3c1a77b204)`."""
        return f"{self.number} ({self.id[:12]})"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the one who changes versions. Raises Busy."""
    _make_folder(folder)
    until = monotonic() + LOCK_WAIT_S
    while (lock := guard.open_lock(folder)) is None:
        if monotonic() > until:
            raise Busy(f"{folder}: another dfedge service command works there", "dfedge service status")
        sleep(0.1)
    try:
        for path in folder.glob(f"{_NEW}*"):  # what a killed one left
            _remove(path)
        yield
    finally:
        os.close(lock)


def number_of(file: Path) -> str:
    """What a dfedge.pyz says it is. Raises Corrupt for anything else."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open("build") as member:
            word, _, number = member.readline(256).decode("ascii").strip().partition(" ")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError):
            raise
        raise Corrupt(f"{file}: not a dfedge.pyz, or one that was cut short; copy it anew") from error
    if word != "version" or not re.fullmatch(r"[0-9A-Za-z.+~-]{1,64}", number):
        raise Corrupt(f"{file}: not a dfedge.pyz: it does not say which version it is")
    return number


def digest_of(file: Path) -> str:
    """The SHA-256 of a file in hex. Raises Refused for a file that is too large."""
    with file.open("rb") as source:
        return _copied(source, None, file)


def put(folder: Path, source: Path, expected: str = "") -> Version:
    """Copy a file beside the others; one that is there stays. `expected` is its SHA-256 in hex, if that is known.

    Raises Corrupt where it is another file, and OSError; then nothing has changed.
    """
    number = number_of(source)
    new = folder / f"{_NEW}{os.getpid()}"
    _make_folder(new)
    try:
        with source.open("rb") as read, (new / FILE).open("xb") as written:
            digest = _copied(read, written, source)
            os.fchmod(written.fileno(), 0o755)
            written.flush()
            os.fsync(written.fileno())
        if expected and digest != expected.lower():
            raise Corrupt(f"{source}: its SHA-256 is {digest}, not {expected.lower()}; copy it anew")
        final = folder / digest[:16]
        if not (final / FILE).is_file() or digest_of(final / FILE) != digest:
            guard.sync_folder(new)
            if final.exists():
                final.rename(folder / f"{_NEW}{os.getpid()}-rotten")
            new.rename(final)
            guard.sync_folder(folder)
    except OSError as error:
        error.filename = error.filename or str(folder)  # a write does not say where
        raise
    finally:
        for path in folder.glob(f"{_NEW}{os.getpid()}*"):
            _remove(path)
    return Version(digest[:16], final / FILE, number)


def linked(folder: Path, link: str) -> Version | None:
    """The version that a link leads to; none where it leads nowhere."""
    try:
        name = (folder / link).readlink().name
    except OSError:
        return None
    return find(folder, name)


def find(folder: Path, name: str) -> Version | None:
    """The version of this name; none where it is not here."""
    file = folder / name / FILE
    if not _NAME.fullmatch(name) or not file.is_file():
        return None
    try:
        return Version(name, file, number_of(file))
    except (Corrupt, OSError):
        return Version(name, file, "unreadable")


def keep(folder: Path, *names: str) -> None:
    """Remove all versions but these."""
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and path.name not in names:
            _remove(path)
    guard.sync_folder(folder)


def _copied(source: BinaryIO, target: BinaryIO | None, name: Path) -> str:
    digest, total = sha256(), 0
    while chunk := source.read(_CHUNK):
        total += len(chunk)
        if total > MAX_FILE:
            raise Refused(f"{name}: larger than {size(MAX_FILE)}, so not a dfedge.pyz")
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest()


def _make_folder(folder: Path) -> None:
    """Readable by all, whatever the umask: the agent runs as another user."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(made):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def _remove(path: Path) -> None:
    """A folder that is half removed must not keep its name, for then it would pass for a whole one."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        if not path.name.startswith(_NEW):
            path = path.rename(path.with_name(f"{_NEW}old-{path.name}"))
        shutil.rmtree(path, ignore_errors=True)
