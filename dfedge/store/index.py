"""The index: which images are here, in SQLite. It holds nothing that the files can't give back.

The index names an image as complete only when its files are blobs and synced.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dfedge.core.image.manifest import Manifest
from dfedge.core.seams import ImageId

T = TypeVar("T")

log = logging.getLogger("dfedge.store")
SCHEMA: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS images (
    image BLOB PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, created INTEGER NOT NULL, size INTEGER NOT NULL,
    signer TEXT NOT NULL, complete INTEGER NOT NULL, pinned INTEGER NOT NULL, added REAL NOT NULL,
    last_used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    image BLOB NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (image, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_digest ON files (digest);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An image in the index. Times are seconds since 1970."""

    image: ImageId
    name: str
    version: str
    created: int
    size: int  # bytes
    signer: str
    complete: bool
    pinned: bool
    added: float
    last_used: float

    @property
    def label(self) -> str:
        """How people call it."""
        return f"{self.name}:{self.version}"


class Index:
    """The database. Every write is one short transaction; none is made unless something changed."""

    def __init__(self, path: Path, refill: Callable[[], Iterable[tuple[Row, Manifest]]]) -> None:
        """Open or make the index; one that is broken or of another schema is thrown away and made empty.

        Where the disk is too full even for that it is kept in memory: the next start makes it anew. Whenever it fails
        later it is made anew from what `refill` gives, which may raise OSError.
        """
        self._path = path
        self._refill = refill
        self._stale = False  # made anew, and not filled yet
        try:
            self._database = _connect(path)
        except sqlite3.Error as error:
            self._database = self._made_anew(error)

    def _made_anew(self, error: sqlite3.Error) -> sqlite3.Connection:
        if not isinstance(error, sqlite3.OperationalError):  # those are errors of the disk
            try:
                self.delete(self._path)
                return _connect(self._path)
            except (OSError, sqlite3.Error) as again:
                error = sqlite3.OperationalError(str(again))
        log.warning("index in memory error=%r", str(error))
        return _connect(None)

    @staticmethod
    def delete(path: Path) -> None:
        """Remove the index's files. Raises OSError."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _ask(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job on the database, on a new one where that fails. Raises OSError where the files can't be read."""
        if not self._stale:
            try:
                return job(self._database)
            except sqlite3.Error as error:
                log.error("index broken error=%r", str(error))
                with suppress(sqlite3.Error):
                    self._database.close()
                self._database = self._made_anew(error)
                self._stale = True
        try:
            self._fill()
            return job(self._database)
        except sqlite3.Error as error:
            self._database = self._made_anew(sqlite3.OperationalError(str(error)))
            self._fill()
            return job(self._database)

    def _fill(self) -> None:
        for row, manifest in self._refill():
            _add(self._database, row, manifest)
        self._stale = False

    def rows(self) -> list[Row]:
        """All images."""
        query = "SELECT image, name, version, created, size, signer, complete, pinned, added, last_used FROM images"
        return [
            Row(ImageId(bytes(image)), name, version, created, size, signer, bool(complete), bool(pinned), added, used)
            for image, name, version, created, size, signer, complete, pinned, added, used in (
                self._ask(lambda database: database.execute(query).fetchall())
            )
        ]

    def add(self, row: Row, manifest: Manifest) -> None:
        """Name an image and its files. Without their names its files might be taken for leftovers."""
        self._ask(lambda database: _add(database, row, manifest))

    def put(self, row: Row) -> None:
        """Write what changed of an image. Where the disk fails, the next start finds it out from the files."""
        with suppress(sqlite3.Error):
            _write(self._database, row)

    def drop(self, image: ImageId) -> None:
        """Name an image no more; as `put`."""
        with suppress(sqlite3.Error), _Transaction(self._database):
            self._database.execute("DELETE FROM images WHERE image = ?", (image,))
            self._database.execute("DELETE FROM files WHERE image = ?", (image,))

    def touch(self, uses: Mapping[ImageId, float]) -> None:
        """Write when images were used last; as `put`."""
        with suppress(sqlite3.Error), _Transaction(self._database):
            self._database.executemany(
                "UPDATE images SET last_used = ? WHERE image = ?", [(when, image) for image, when in uses.items()]
            )

    def files(self) -> dict[ImageId, list[tuple[bytes, int]]]:
        """(digest, bytes) of each distinct file, by image."""
        found: dict[ImageId, list[tuple[bytes, int]]] = {}
        query = "SELECT image, digest, size FROM files"
        for image, digest, size in self._ask(lambda database: database.execute(query).fetchall()):
            found.setdefault(ImageId(bytes(image)), []).append((bytes(digest), size))
        return found

    def images_with(self, digest: bytes) -> list[ImageId]:
        """The images that have this file."""
        query = "SELECT image FROM files WHERE digest = ?"
        found = self._ask(lambda database: database.execute(query, (digest,)).fetchall())
        return [ImageId(bytes(image)) for (image,) in found]

    def unshared(self, image: ImageId) -> list[bytes]:
        """Digests of the files that only this image has."""
        query = "SELECT digest FROM files WHERE image = ? AND digest NOT IN (SELECT digest FROM files WHERE image <> ?)"
        found = self._ask(lambda database: database.execute(query, (image, image)).fetchall())
        return [bytes(digest) for (digest,) in found]

    def close(self) -> None:
        """Close the database."""
        with suppress(sqlite3.Error):
            self._database.close()


def _add(database: sqlite3.Connection, row: Row, manifest: Manifest) -> None:
    with _Transaction(database):
        _write(database, row)
        database.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?)",
            [(row.image, entry.digest, entry.size) for entry in manifest.files],
        )


def _write(database: sqlite3.Connection, row: Row) -> None:
    database.execute(
        "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.image, row.name, row.version, row.created, row.size, row.signer, row.complete, row.pinned, row.added,
         row.last_used),
    )  # fmt: skip


def _connect(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a lost last write is found again from the files
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, SCHEMA) or database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError(f"schema {found}")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        database.close()
        raise
    if path is not None:
        path.chmod(0o600)
    return database


class _Transaction:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
