"""Writing a small file of the host: whole or not at all, also across a power cut."""

import os
from contextlib import suppress
from pathlib import Path

from dfedge.install.guard import sync_folder


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file. Raises OSError; then nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    draft.unlink(missing_ok=True)
    try:
        with draft.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def holds(path: Path, text: str) -> bool:
    """Whether a file has just this text."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def link(path: Path, target: str) -> None:
    """Make a symbolic link, or lead it elsewhere. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.rename(path)
    sync_folder(path.parent)


def leads_to(path: Path, target: str) -> bool:
    """Whether a link is there, and has just this target."""
    return path.is_symlink() and str(path.readlink()) == target


def draft_of(path: Path) -> Path:
    """Where it is written first; there after a kill at most."""
    return path.with_name(f".{path.name}.new")


def is_there(path: Path) -> bool:
    """Whether there is a file or link, or what a killed `write` or `link` left of one."""
    return os.path.lexists(path) or os.path.lexists(draft_of(path))


def remove(path: Path) -> bool:
    """Remove a file or link for good, and its draft; whether there was one."""
    there = is_there(path)
    if there:
        draft_of(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    return there
