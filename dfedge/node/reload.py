"""SIGHUP: the settings are read again; those of [throttle] hold at once, others at the next start."""

import logging
import signal
from collections.abc import Callable

import anyio
import anyio.abc

from dfedge.core.errors import DfedgeError
from dfedge.node.config import Config

Settings = Callable[[], Config]
"""Reads them anew. Raises UsageError."""
log = logging.getLogger("dfedge")


async def reload_on_signal(
    running: Config, read: Settings, apply: Callable[[Config], None], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Wait for SIGHUP until cancelled. Settings that are wrong change nothing."""
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            try:
                new = read()
            except DfedgeError as error:
                log.error("settings not read again error=%s", error)
                continue
            apply(new)
            later = restart_needed(running, new)
            log.info("settings read again, profile=%s", new.throttle.orders.policy.profile.value)
            if later:
                log.warning("these hold from the next start on settings=%s", ",".join(later))


def restart_needed(running: Config, new: Config) -> list[str]:
    """Settings that differ and hold only from the next start on."""
    return [
        key
        for key, value in new.values.items()
        if value != running.values.get(key) and (not key.startswith("throttle.") or key == "throttle.enabled")
    ]
