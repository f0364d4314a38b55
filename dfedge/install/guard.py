"""Goes back from a version that nobody judges any more. systemd runs a copy of this file as root before each start.

It stands beside the versions and needs none of them, as the newest may be broken: it imports nothing but Python's own.

A version is on trial while the file `trial` names it and the one before. Who judges it holds `lock`; if the judge was
killed, or the power went, the version before comes back at the next start.
"""

import fcntl
import os
import re
import stat
import sys
from pathlib import Path

CURRENT = "current"
PREVIOUS = "previous"
TRIAL = "trial"
LOCK = "lock"
OWN_FOLDERS = ("node", "trust")  # what `dfedge join` writes


def go_back(folder: Path) -> str:
    """Make the version before the trial the current one, and end the trial; returns it, or nothing without a trial."""
    trial = read_trial(folder)
    if trial is None:
        return ""
    _, previous = trial
    if (folder / previous / "dfedge.pyz").is_file():
        repoint(folder, CURRENT, previous)
    end_trial(folder)
    return previous


def read_trial(folder: Path) -> "tuple[str, str] | None":
    """The version on trial and the one before it."""
    try:
        text = (folder / TRIAL).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    match = re.fullmatch(r"([0-9a-f]{16}) ([0-9a-f]{16})\n", text)
    return (match[1], match[2]) if match else None


def end_trial(folder: Path) -> None:
    """Nothing is on trial from now on, for good."""
    (folder / TRIAL).unlink(missing_ok=True)
    sync_folder(folder)


def repoint(folder: Path, link: str, version: str) -> None:
    """Let a link lead to another version, in one step and for good."""
    draft = folder / f".new-{link}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(version)
    draft.rename(folder / link)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_lock(folder: Path) -> "int | None":
    """Become the one who changes versions; none where somebody is. Closing the descriptor ends it, as death does."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def hand_over(state: Path) -> None:
    """Give the state's owner what root wrote there by `dfedge join`: files and folders, no links of any kind."""
    owner = state.lstat()
    for name in OWN_FOLDERS:
        if (state / name).is_dir() and not (state / name).is_symlink():
            for _, folders, files, here in os.fwalk(state / name):
                _give(here, owner)
                for entry in (*folders, *files):
                    try:
                        fd = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
                    except OSError:
                        continue
                    try:
                        _give(fd, owner)
                    finally:
                        os.close(fd)


def _give(fd: int, owner: os.stat_result) -> None:
    found = os.fstat(fd)
    alone = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    if alone and found.st_uid == 0 and owner.st_uid != 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def main(folder: Path, state: Path) -> None:
    """What is to be done before a start."""
    if state.is_dir() and os.geteuid() == 0:
        hand_over(state)
    lock = open_lock(folder)
    if lock is None:
        return  # whoever changes versions judges them
    try:
        previous = go_back(folder)
    finally:
        os.close(lock)
    if previous:
        sys.stderr.write(f"dfedge: the version on trial was not judged; back to {previous}\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent, Path(sys.argv[1]))
