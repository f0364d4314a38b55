"""Refusing what can't fit, before its first byte is written: what lacks, what could go, and what would help."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dfedge.core.errors import NoSpace
from dfedge.core.units import size
from dfedge.store.eviction import Candidate, Room, freed, plan, total
from dfedge.store.quota import Usage

PINNED: Final = "pinned"  # why an image may not go, where a user can change that


def no_space(state: Path, label: str, need: Room, usage: Usage, lack: Room, images: Sequence[Candidate]) -> NoSpace:
    """Word the refusal: `need` is for `label`, of which `lack` is not there; `images` are the others that are."""
    possible = plan(images, lack)
    parts = _wanted(label, need, usage, lack)
    if possible:
        gain = total(possible)
        what = f"{gain.inodes:,} inodes" if lack.inodes else size(gain.nbytes)
        parts.append(f"evicting {names([one.label for one in possible])} would free {what}")
    else:
        parts.append("nothing can be evicted")
    remedy, hint = _remedy(state, usage, images, lack)
    return NoSpace(f"store {state}: {', '.join(parts)}; {remedy}", hint)


def _wanted(label: str, need: Room, usage: Usage, lack: Room) -> list[str]:
    if lack.inodes:
        free = max(0, usage.inodes or 0)
        return [f"{label} needs {need.inodes:,} inodes", f"{free:,} are free ({usage.keep_inodes:,} are to stay so)"]
    parts = [
        f"{label} needs {size(need.nbytes)}",
        f"{size(max(0, usage.free - usage.reserved))} is free (keep_free {size(usage.limits.keep_free)})",
    ]
    if usage.limits.quota is not None:
        parts.append(f"the store holds {size(usage.bytes)} of its quota {size(usage.limits.quota)}")
    return parts


def _remedy(state: Path, usage: Usage, images: Sequence[Candidate], lack: Room) -> tuple[str, str]:
    """What would help, the least trouble first, and the command for it."""
    movable = [one for one in images if not one.kept]
    pinned = sorted((one for one in images if one.kept == PINNED), key=lambda one: one.last_used)
    if pinned and freed(images, [*movable, *pinned]).covers(lack):
        are = "is" if len(pinned) == 1 else "are"
        return f"{names([one.label for one in pinned])} {are} pinned", f"dfedge unpin {pinned[0].label}"
    short = lack - freed(images, movable)
    if lack.inodes:
        return f"{short.inodes:,} inodes lack", f"df -i {state}"
    if not usage.is_disk_bound:
        return f"store.quota is {size(short.nbytes)} too small for it", "dfedge config show"
    lower = " (or lower store.keep_free)" if usage.limits.keep_free >= short.nbytes else ""
    return f"{size(short.nbytes)} must be freed on this disk{lower}", f"df -h {state}"


def names(labels: Sequence[str]) -> str:
    """A few of them, and that there are more."""
    return ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
