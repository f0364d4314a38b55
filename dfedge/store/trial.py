"""Whether sqlite works on this machine and disk as the index needs it."""

import sqlite3
from contextlib import closing
from pathlib import Path


def try_sqlite(folder: Path) -> str:
    """Write a row in a database in `folder`, read it back, return sqlite's version. Raises sqlite3.Error, OSError."""
    path = folder / "trial.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE trial (value BLOB) STRICT")
        with database:
            database.execute("INSERT INTO trial VALUES (?)", (b"\0dfedge",))
    with closing(sqlite3.connect(path)) as database:
        if database.execute("SELECT value FROM trial").fetchall() != [(b"\0dfedge",)]:
            raise sqlite3.DatabaseError("another row came back than was written")
    return sqlite3.sqlite_version
