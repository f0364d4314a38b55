"""Writing a small file of the host: whole or not at all, also across a power cut."""

import os
from contextlib import suppress
from pathlib import Path

from dfedge.install.guard import sync_folder


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file. Raises OSError; then nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
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
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.rename(path)
    sync_folder(path.parent)


def leads_to(path: Path, target: str) -> bool:
    """Whether a link is there, and has just this target."""
    return path.is_symlink() and str(path.readlink()) == target


def remove(path: Path) -> bool:
    """Remove a file or link for good; whether there was one."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True
