"""Names of images and versions, references to them, and the paths of files inside them."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_NAME: Final = 255  # characters
MAX_VERSION: Final = 128  # characters
MAX_PART: Final = 255  # bytes of one path part, what ext4 takes
MAX_PATH: Final = 4096  # bytes of a whole path
MIN_DIGEST_DIGITS: Final = 8  # hex digits a `sha256:` reference needs

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{MIN_DIGEST_DIGITS},64}}")


def check_name(name: str) -> str:
    """Return `name` if it may name an image. Raises ValueError."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ValueError(f'"{name}" is not an image name; use a-z 0-9 . _ - and /, as in "gateway/os"')
    return name


def check_version(version: str) -> str:
    """Return `version` if it may be one. Raises ValueError."""
    if len(version) > MAX_VERSION or not _VERSION.fullmatch(version):
        raise ValueError(f'"{version}" is not a version; use letters, digits and . _ + -, as in "2.4.1"')
    return version


def check_path(path: str) -> str:
    """Return `path` if it is a safe relative path: NFC, no `.`, `..`, empty part or control character.

    Raises ValueError.
    """
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise ValueError(f"path of over {MAX_PATH:,} bytes: {path[:60]!r}…")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(f"path {path!r} must be relative, with no empty, . or .. part")
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART:
            raise ValueError(f"path {path[:60]!r}… has a part of over {MAX_PART} bytes")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path) or "\\" in path:
        raise ValueError(f"path {path!r} holds a control character, a backslash or broken Unicode")
    if unicodedata.normalize("NFC", path) != path:
        raise ValueError(f"path {path!r} is not in Unicode normal form C")
    return path


def check_no_clash(paths: Iterable[str]) -> None:
    """Raises ValueError if two paths are one on a case-blind disk, or one is a folder of another."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise ValueError(f"paths {seen[folded]!r} and {path!r} clash")
        seen[folded] = path
        parts = folded.split("/")
        for end in range(1, len(parts)):
            folders.setdefault("/".join(parts[:end]), path)
    for folded, path in seen.items():
        if folded in folders:
            raise ValueError(f"path {path!r} is a file and also a folder of {folders[folded]!r}")


@dataclass(frozen=True, slots=True)
class Ref:
    """How a user points at an image: by name, name and version, or the first digits of its id."""

    name: str = ""
    version: str = ""
    digest: str = ""  # lower-case hex, 8 to 64 digits

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Read `name`, `name:version` or `sha256:…`. Raises ValueError."""
        head, colon, tail = text.partition(":")
        if head == "sha256" and colon:
            if not _DIGEST.fullmatch(tail):
                raise ValueError(f'"{text}" needs {MIN_DIGEST_DIGITS} to 64 hex digits after "sha256:"')
            return cls(digest=tail)
        return cls(name=check_name(head), version=check_version(tail) if colon else "")

    def matches(self, image: bytes, name: str, version: str) -> bool:
        """Whether this reference could mean that image."""
        if self.digest:
            return image.hex().startswith(self.digest)
        return name == self.name and self.version in ("", version)

    def __str__(self) -> str:
        if self.digest:
            return f"sha256:{self.digest}"
        return f"{self.name}:{self.version}" if self.version else self.name
