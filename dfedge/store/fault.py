"""A failing disk, in the words of a user."""

import errno
from pathlib import Path

from dfedge.core.errors import Corrupt, DfedgeError, NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_fault(path: Path, doing: str, error: OSError) -> DfedgeError:
    """Say what the disk did to us: NoSpace when it is full, Corrupt when it fails. Raise what this returns."""
    what = error.strerror or str(error)
    if error.errno in _FULL:
        return NoSpace(f"{path}: {doing}: {what.lower()}", hint="dfedge gc --dry-run")
    return Corrupt(f"{path}: {doing}: {what.lower()}", hint="dfedge doctor")
