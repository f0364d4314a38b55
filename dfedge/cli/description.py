"""A description of an image in TOML, as in firmware_images/: its name, version and files, and where they come from."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.cli.parser import nearest
from dfedge.core.errors import NotFound, UsageError
from dfedge.core.image.name import check_name, check_path, check_version
from dfedge.node.configfile import line_of

MAX_BYTES: Final = 4 * 1024 * 1024
_KEYS: Final = {
    "image": ("name", "version", "compatible"),
    "files": ("path", "source", "from"),
    "hooks": ("install", "health", "rollback", "timeout"),
}
_FILES: Final = re.compile(r"^[ \t]*\[\[\s*files\s*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Description:
    """What a description asks to publish; each file as (path inside the image, file on this machine)."""

    name: str
    version: str
    compatible: tuple[str, ...]
    files: tuple[tuple[str, Path], ...]


def is_description(path: Path) -> bool:
    """Whether this file describes an image, rather than being one that happens to be TOML."""
    if path.suffix != ".toml" or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return False
    return re.search(r"^\s*\[\s*image\s*\]", path.read_text(errors="replace"), re.MULTILINE) is not None


def read(path: Path) -> Description:
    """Raises UsageError `FILE:LINE: key …`, and NotFound where a source is on no path that it may have."""
    try:
        text = path.read_text()
        tree = tomllib.loads(text)
    except ValueError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        raise UsageError(f"{path}:{at[1] if at else 1}: not TOML: {str(error).partition(' (at ')[0].lower()}") from None
    return _Reader(path, text).read(tree)


class _Reader:
    """Knows the file's text, to say on which line something is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def read(self, tree: dict[str, object]) -> Description:
        self._check_keys(tree, tuple(_KEYS), "")
        image = self._table(tree.get("image", {}), "image")
        self._check_keys(image, _KEYS["image"], "image.")
        self._check_keys(self._table(tree.get("hooks", {}), "hooks"), _KEYS["hooks"], "hooks.")
        compatible = image.get("compatible", [])
        if not isinstance(compatible, list) or not all(isinstance(item, str) and item for item in compatible):
            raise self._wrong("image.compatible", 'is not a list of texts; write one as in ["acme,gateway-2"]')
        files = tree.get("files", [])
        if not isinstance(files, list) or not files:
            raise self._wrong("files", "names no file; add [[files]] with path and source")
        try:
            name = check_name(self._string(image, "image.name"))
            version = check_version(self._string(image, "image.version"))
        except ValueError as error:
            key = "image.version" if "is not a version" in str(error) else "image.name"
            raise self._wrong(key, f"is wrong: {error}") from None
        entries = tuple(self._file(index, row) for index, row in enumerate(files))
        return Description(name, version, tuple(compatible), entries)

    def _of_file(self, index: int) -> "_Reader":
        """A reader that sees, on their lines, only the keys of [[files]] number `index`."""
        headers = list(_FILES.finditer(self._text))
        if len(headers) <= index:  # they are written inline
            return self
        start = headers[index]
        end = headers[index + 1].start() if len(headers) > index + 1 else len(self._text)
        above = "\n" * self._text.count("\n", 0, start.start())
        return _Reader(self._path, f"{above}[files]{self._text[start.end() : end]}")

    def _file(self, index: int, row: object) -> tuple[str, Path]:
        reader = self._of_file(index)
        table = reader._table(row, "files")
        reader._check_keys(table, _KEYS["files"], "files.")
        inside = reader._string(table, "files.path")
        try:
            check_path(inside)
        except ValueError as error:
            raise reader._wrong("files.path", f"is wrong: {error}") from None
        source = table.get("source")
        sources = [source] if isinstance(source, str) else source
        if not isinstance(sources, list) or not sources or not all(isinstance(item, str) and item for item in sources):
            raise reader._wrong("files.source", "is not a path, nor a list of paths")
        places = [self._path.parent / str(item) for item in sources]
        for place in places:
            if place.is_file():
                return inside, place.resolve()
        package = table.get("from")
        hint = f"apt-get install {package}" if isinstance(package, str) else ""
        raise NotFound(
            f"{self._path}:{line_of(reader._text, 'files.source')}: {' or '.join(map(str, places))} is not there", hint
        )

    def _string(self, table: dict[str, object], key: str) -> str:
        value = table.get(key.partition(".")[2])
        if not isinstance(value, str):
            raise self._wrong(key, "is missing" if value is None else "is not a text")
        return value

    def _table(self, value: object, key: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(key, f"is not a table; write [{key}] and its keys below")
        return value

    def _check_keys(self, table: dict[str, object], known: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in known:
                hint = nearest(key, known) or f"; known are {', '.join(known)}"
                raise self._wrong(prefix + key, f"is not known here{hint}")

    def _wrong(self, key: str, what: str) -> UsageError:
        return UsageError(f"{self._path}:{line_of(self._text, key)}: {key} {what}")
