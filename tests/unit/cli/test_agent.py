"""`dfedge agent`: how it logs, how it stops, and that it says why it can't start."""

import io
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from dfedge.cli.agent import start_log
from dfedge.node import agent as node_agent


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("dfedge")
    before = (root.handlers, root.level, ours.level)
    yield
    root.handlers = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def logged(monkeypatch: pytest.MonkeyPatch, journal: bool, level: int = logging.INFO) -> list[str]:
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = io.StringIO()
    start_log(stream, level)
    log = logging.getLogger("dfedge.node")
    log.debug("asked piece=%d", 3)
    log.info("connected peer=%s", "kiosk-07")
    try:
        raise RuntimeError("oops")
    except RuntimeError:
        log.exception("failed")
    logging.getLogger("asyncssh").info("chatter")
    return stream.getvalue().splitlines()


def test_the_journal_gets_a_priority_on_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = logged(monkeypatch, journal=True)
    assert lines[0] == "<6>connected peer=kiosk-07"
    assert lines[1] == "<3>failed"
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines[1:])


def test_people_get_the_time_and_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged(monkeypatch, journal=False)[0].endswith(" INFO connected peer=kiosk-07")
    assert "asked piece=3" in logged(monkeypatch, journal=False, level=logging.DEBUG)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_cleanly(dfedge: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    ended: list[str] = []

    async def run_agent(config: Any, *, network: bool, stop: anyio.Event, settings: Any) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()
        ended.append("flushed")

    monkeypatch.setattr(node_agent, "run_agent", run_agent)
    assert dfedge("agent").code == 0
    assert ended == ["flushed"]


def test_an_agent_of_no_fleet_says_how_to_join_one(dfedge: Any) -> None:
    ran = dfedge("agent")
    assert ran.code == 1
    assert "this node has not joined a fleet [not_found]\n  try: dfedge join DIR\n" in ran.err
