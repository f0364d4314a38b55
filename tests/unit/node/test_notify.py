"""systemd: it is told when we are ready, that we live, and nothing by a process it did not start."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dfedge.node.notify import Notifier


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_readiness_is_told(listening: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": listening.getsockname()}).tell("READY=1", "STATUS=2 images")
    assert listening.recv(4096) == b"READY=1\nSTATUS=2 images"


def test_without_systemd_nothing_happens() -> None:
    Notifier({}).tell("READY=1")
    Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}).tell("READY=1")


@pytest.mark.anyio
async def test_the_watchdog_is_fed_while_the_node_is_healthy_and_no_longer(listening: socket.socket) -> None:
    healthy = True
    notifier = Notifier(
        {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notifier.keep_alive, lambda: healthy, lambda: "1 images")
        heard = [await anyio.to_thread.run_sync(listening.recv, 4096) for _ in range(3)]
        assert heard[0] == b"WATCHDOG=1\nSTATUS=1 images"
        assert heard[1:] == [b"WATCHDOG=1"] * 2
        healthy = False
        await anyio.sleep(0.03)
        listening.settimeout(0.1)
        while True:
            try:
                listening.recv(4096)
            except TimeoutError:
                break
        tasks.cancel_scope.cancel()


def test_another_processes_watchdog_is_not_ours(listening: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}
    assert Notifier(environ).watchdog_s == 0
