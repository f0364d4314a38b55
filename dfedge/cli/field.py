"""Reading the agent's documents for people: a field that is missing or of another kind is shown as nothing."""

from collections.abc import Mapping

Document = Mapping[str, object]


def word(document: Document, key: str, missing: str = "") -> str:
    """A text."""
    value = document.get(key)
    return value if isinstance(value, str) and value else missing


def number(document: Document, key: str) -> float:
    """A number, 0 where there is none."""
    value = document.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def whole(document: Document, key: str) -> int:
    """A whole number, 0 where there is none."""
    return int(number(document, key))


def rows(document: Document, key: str) -> list[dict[str, object]]:
    """A list of objects."""
    value = document.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def words(document: Document, key: str) -> list[str]:
    """A list of texts."""
    value = document.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def part(document: Document, key: str) -> dict[str, object]:
    """An object within."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def image_label(document: Document) -> str:
    """An image as people name it: `gateway:2.4.1`."""
    name, version = word(document, "name"), word(document, "version")
    return f"{name}:{version}" if name and version else name or short(word(document, "image"))


def counted(count: int, noun: str) -> str:
    """`1 peer`, `4 peers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short(digest: str) -> str:
    """`sha256:` and 12 digits of it."""
    return digest[: len("sha256:") + 12]
