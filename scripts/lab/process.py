"""Processes inside a namespace, each in its own process group, ended by pid."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

PATIENCE_S: Final = 3.0  # from the request to end to the kill

Process = subprocess.Popen[str]


def end(processes: Iterable[Process]) -> None:
    """End processes and their groups: ask, wait at most 3 s in all, then kill."""
    started = list(processes)
    for process in started:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in started:
        _signal_group(process, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def start(argv: list[str], **settings: Any) -> Process:
    return subprocess.Popen(argv, text=True, encoding="utf-8", errors="replace", process_group=0, **settings)


def _signal_group(process: Process, number: signal.Signals) -> None:
    # The group outlives its leader when a grandchild stays; its id stays taken until then.
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None or number is signal.SIGKILL:
            os.killpg(process.pid, number)
