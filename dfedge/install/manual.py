"""The man page and the completions that a dfedge.pyz carries, put where a host looks for them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt
from dfedge.install.file import holds, remove, write
from dfedge.install.place import Place

INSIDE: Final = "lib/share/"
MOST: Final = 1024 * 1024  # bytes of one of them
FILES: Final = (
    "man/man1/dfedge.1",
    "bash-completion/completions/dfedge",
    "zsh/site-functions/_dfedge",
    "fish/vendor_completions.d/dfedge.fish",
)


def lacking(place: Place, pyz: Path) -> dict[Path, str]:
    """What is not there as the file has it: text by path. Raises Corrupt."""
    return {path: text for path, text in _texts(place, pyz) if not holds(path, text)}


def put(texts: dict[Path, str]) -> None:
    """Write them. Raises OSError."""
    for path, text in texts.items():
        write(path, text, 0o644)


def there(place: Place) -> list[Path]:
    """Those that an installation has."""
    return [path for name in FILES if (path := place.prefix / "share" / name).is_file()]


def clear(place: Place) -> None:
    """Remove them."""
    for path in there(place):
        remove(path)


def _texts(place: Place, pyz: Path) -> Iterator[tuple[Path, str]]:
    try:
        with zipfile.ZipFile(pyz) as archive:
            held = set(archive.namelist())
            for name in FILES:
                if INSIDE + name in held and archive.getinfo(INSIDE + name).file_size <= MOST:
                    yield place.prefix / "share" / name, archive.read(INSIDE + name).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise Corrupt(f"{pyz}: {error}") from None
