"""What goes to which stream, and in which form scripts and people get it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfedge.cli import app
from dfedge.cli.output import Output, timestamp
from dfedge.core.errors import NoSpace, Refused
from dfedge.node.control import Call
from dfedge.node.controlframe import Document

ERROR = NoSpace("store /var/lib/dfedge: gateway:2.4.1 needs 412 MiB, 96 MiB is free", "dfedge gc --dry-run")


class Streams:
    def __init__(self, **options: Any) -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.out = Output(
            stdout=self.stdout, stderr=self.stderr, environ={}, now=lambda: "2026-03-01T10:00:00.000Z", **options
        )

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.getvalue().splitlines()]


def test_an_answer_is_text_for_people_and_one_document_for_scripts() -> None:
    people, scripts = Streams(), Streams(json=True)
    for streams in (people, scripts):
        streams.out.answer({"name": "küche"}, "the kitchen")
    assert people.stdout.getvalue() == "the kitchen\n"
    assert scripts.stdout.getvalue() == '{"v":1,"name":"küche"}\n'
    assert not people.stderr.getvalue() + scripts.stderr.getvalue()


def test_a_long_command_ends_with_a_result_line() -> None:
    streams = Streams(json=True)
    streams.out.event({"type": "progress", "bytes_done": 1})
    streams.out.result({"bytes": 3}, "done")
    assert streams.lines == [
        {"v": 1, "ts": "2026-03-01T10:00:00.000Z", "type": "progress", "bytes_done": 1},
        {"v": 1, "type": "result", "ok": True, "ts": "2026-03-01T10:00:00.000Z", "bytes": 3},
    ]


def test_an_error_says_what_and_what_to_try() -> None:
    people, scripts = Streams(quiet=True), Streams(json=True)
    for streams in (people, scripts):
        streams.out.error(ERROR)
    text = (
        "dfedge: store /var/lib/dfedge: gateway:2.4.1 needs 412 MiB, 96 MiB is free [no_space]\n"
        "  try: dfedge gc --dry-run\n"
    )
    assert (people.stdout.getvalue(), people.stderr.getvalue(), scripts.stderr.getvalue()) == ("", text, text)
    (document,) = scripts.lines
    assert (document["ok"], document["code"], document["hint"]) == (False, "no_space", "dfedge gc --dry-run")


def test_quiet_silences_hints_and_not_warnings() -> None:
    streams = Streams(quiet=True)
    streams.out.note("hint")
    streams.out.warn("the clock is late")
    assert streams.stderr.getvalue() == "dfedge: warning: the clock is late\n"


def test_a_table_sets_numbers_right_and_has_no_colour_in_a_file() -> None:
    text = Streams().out.table(["NODE", ">SIZE", "STATE"], [["kiosk-07", "1.0 MiB", ""], ["gw", "12 B", "seen"]])
    assert text == "NODE         SIZE  STATE\nkiosk-07  1.0 MiB\ngw           12 B  seen"


def test_a_table_drops_its_last_columns_rather_than_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams()
    monkeypatch.setattr(streams.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "12")
    assert streams.out.table(["A", "B", "C"], [["1234", "1234", "1234"]]) == "A     B\n1234  1234"


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    plain = Output(stdout=stdout, environ={"TERM": "xterm", "NO_COLOR": "1"})
    assert (plain.bold("x"), Output(stdout=stdout, environ={"TERM": "xterm"}).bold("x")) == ("x", "\033[1mx\033[0m")
    assert Output(stdout=stdout, environ={"TERM": "dumb"}).bold("x") == "x"


def test_times_are_rfc_3339_in_utc() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp())


def failing(error: BaseException) -> Callable[..., None]:
    def run(*_: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refused("x: no"), 1, "dfedge: x: no [refused]\n"),
        (RuntimeError("oops"), 1, "dfedge: internal error: RuntimeError: oops [refused]\n  try: DFEDGE_DEBUG=1"),
        (PermissionError(13, "Permission denied", "/a"), 1, "dfedge: /a: permission denied [refused]\n"),
        (OSError(28, "No space left on device", "/a"), 1, "dfedge: /a: no space left on device [no_space]\n"),
        (KeyboardInterrupt(), 130, "dfedge: interrupted [halted]\n"),
        (app.Terminated(), 143, "dfedge: terminated [halted]\n"),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_no_traceback(
    dfedge: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(app, "_run", failing(error))
    ran = dfedge("ls")
    assert ran.code == code
    assert ran.err.startswith(said)
    assert "Traceback" not in ran.err


def test_a_traceback_is_for_who_asks(dfedge: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_run", failing(RuntimeError("oops")))
    monkeypatch.setenv("DFEDGE_DEBUG", "1")
    assert "Traceback" in dfedge("ls").err


def test_a_reader_that_has_enough_ends_it_quietly(state_dir: Path) -> None:
    shell = f"{sys.executable} -m dfedge config show | true; echo ${{PIPESTATUS[0]}}"
    for _ in range(5):
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True, timeout=20)
        assert done.stderr == ""
        assert done.stdout.strip() in ("0", "1")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_fetch_and_says_what_is_kept(agent: Callable[..., None], number: int, code: int) -> None:
    import anyio

    async def get(params: Document, call: Call) -> Document:
        await call.emit({"type": "start"})
        await anyio.sleep_forever()
        return {}

    agent({"get": get})
    with subprocess.Popen(
        [sys.executable, "-m", "dfedge", "get", "gateway", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "start"
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "what has been fetched is kept" in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["ok"] is False
