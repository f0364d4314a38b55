"""Settings that are well written, each by itself, and make no sense: together, or on the disk of this host."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from dfedge.core.errors import UsageError
from dfedge.core.units import size
from dfedge.node.configfile import Found

if TYPE_CHECKING:
    from dfedge.node.config import Config

MIN_QUOTA: Final = 1024 * 1024  # bytes; less is a number whose unit was forgotten


def contradictions(found: Mapping[str, Found], defaults: Mapping[str, object]) -> list[UsageError]:
    """What can't be meant, wherever the node runs."""
    errors = []
    quota = found.get("store.quota")
    if quota is not None and isinstance(quota.value, int) and quota.value < MIN_QUOTA:
        errors.append(
            _wrong(
                quota, "store.quota", f'{quota.value:,} bytes hold no image; write a size with its unit, as "10 GiB"'
            )
        )
    start, stop = (
        found.get(key) or Found(defaults[key], "the default") for key in ("store.evict_from", "store.evict_to")
    )
    if isinstance(start.value, int) and isinstance(stop.value, int) and start.value < stop.value:
        key, place = ("store.evict_to", stop) if "store.evict_to" in found else ("store.evict_from", start)
        marks = f"evict_from is {start.value} % ({start.source}), evict_to {stop.value} % ({stop.source})"
        errors.append(_wrong(place, key, f"{marks}; eviction can't stop above where it starts"))
    return errors


def _wrong(found: Found, key: str, what: str) -> UsageError:
    return UsageError(f"{found.source}: {key} is wrong: {what}", "dfedge config show")


def doubts(config: "Config") -> list[str]:
    """What the disk of this host can't keep. Empty too where there is no such disk yet."""
    place = next(path for path in (config.state_dir, *config.state_dir.parents) if path.exists())
    disk = os.statvfs(place)
    whole, store = disk.f_blocks * disk.f_frsize, config.store
    if store.keep_free >= whole:
        return [
            f"store.keep_free is {size(store.keep_free)} ({config.sources['store.keep_free']}), the disk of "
            f"{config.state_dir} has {size(whole)}: nothing can be stored"
        ]
    if store.quota is not None and store.quota > whole - store.keep_free:
        return [
            f"store.quota is {size(store.quota)} ({config.sources['store.quota']}), the disk of {config.state_dir} has "
            f"{size(whole)}, of which {size(store.keep_free)} stay free: at most {size(whole - store.keep_free)} count"
        ]
    return []
