"""Puts an enrolment's files into the state dir, all or none, also under SIGKILL or a power cut.

Write order: every file into STATE/join.new, synced; then one rename to STATE/join.ready, which is the moment it counts;
then each file to its place. Whoever finds join.ready finishes it first.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dfedge.trust import file

NODE: Final = "node"
TRUST: Final = "trust"
FOLDERS: Final = (NODE, TRUST)
_NEW: Final = "join.new"
_READY: Final = "join.ready"


def install(state_dir: Path, files: Mapping[tuple[str, str], tuple[bytes, int]]) -> None:
    """Put (folder, name) → (bytes, mode) into the state dir.

    Raises NoSpace, Refused or Corrupt; then either nothing changed or whoever opens the state dir next finishes it.
    """
    file.make_folder(state_dir)
    for folder in FOLDERS:
        file.make_folder(state_dir / folder)
    finish(state_dir)
    new = state_dir / _NEW
    try:
        if new.exists():
            shutil.rmtree(new)  # what an earlier run left that never counted
        file.make_folder(new)
        for folder in FOLDERS:
            file.make_folder(new / folder)
        for (folder, name), (data, mode) in files.items():
            file.write(new / folder / name, data, mode)
        new.rename(state_dir / _READY)
        file.sync_folder(state_dir)
    except OSError as error:
        raise file.told(error, new) from error
    finish(state_dir)


def finish(state_dir: Path) -> None:
    """Finish an installation that was cut short after it counted. Does nothing without one."""
    ready = state_dir / _READY
    if not ready.is_dir():
        return
    try:
        for folder in FOLDERS:
            for entry in sorted((ready / folder).glob("*")):  # the folder itself may be gone already
                entry.replace(state_dir / folder / entry.name)
            file.sync_folder(state_dir / folder)
        shutil.rmtree(ready)
        file.sync_folder(state_dir)
    except OSError as error:
        raise file.told(error, ready) from error
