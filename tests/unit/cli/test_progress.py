"""What somebody who waits sees."""

import io
from typing import Any

import pytest

from dfedge.cli.output import Output
from dfedge.cli.progress import Bar, JsonLines, LogLines, Silence, progress_of


def event(done: int, **more: object) -> dict[str, Any]:
    return {
        "type": "progress",
        "name": "gateway",
        "version": "2.4.1",
        "bytes_total": 1000,
        "bytes_done": done,
        "bytes_reused": 200,
        "rate": 5_125_000,
        "eta": 4.2,
        "peers": [
            {"id": "a" * 52, "name": "kiosk-07", "rate": 3_000_000, "state": "open"},
            {"id": "b" * 52, "rate": 0},
        ],
        "held_back": None,
        **more,
    }


def log_of(*events: dict[str, Any]) -> list[str]:
    stderr = io.StringIO()
    progress = LogLines(Output(stdout=io.StringIO(), stderr=stderr, environ={}), "get", "gateway")
    for each in events:
        progress.update(each)
    progress.close()
    return stderr.getvalue().splitlines()


def test_a_log_has_a_line_at_the_start_each_ten_percent_and_at_the_end() -> None:
    lines = log_of(
        {"type": "start", "ref": "gateway"},
        event(200, type="manifest"),
        *(event(done) for done in range(200, 1001, 7)),
        event(1000),
    )
    assert lines[0] == "get gateway looking for it"
    assert lines[1] == "get gateway:2.4.1 start bytes=1000 reuse=200 fetch=800"
    assert lines[5] == "get gateway:2.4.1 50 % rate=41Mbit/s peers=2 eta=4s"
    assert [line.split()[2] for line in lines[2:]] == ["20", "30", "40", "50", "60", "70", "80", "90", "100"]


def test_a_log_says_what_holds_it_back_and_no_eta_where_there_is_none() -> None:
    lines = log_of(event(500, eta=None, held_back="kiosk-07 chokes us"))
    assert lines[-1] == 'get gateway:2.4.1 50 % rate=41Mbit/s peers=2 held_back="kiosk-07 chokes us"'


def of_a_stick(done: int) -> dict[str, Any]:
    return {key: value for key, value in event(done).items() if key not in {"peers", "held_back"}}


def test_a_stick_has_no_line_and_no_peers() -> None:
    assert log_of(of_a_stick(500))[-1] == "get gateway:2.4.1 50 % rate=4.9MiB/s eta=4s"


def test_an_empty_image_and_odd_events_show_nothing_wrong() -> None:
    assert log_of({"type": "manifest", "bytes_total": 0}, {}, {"type": "progress", "bytes_total": "x"}) == []


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def bar_of(shown: dict[str, Any], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of that many columns shows of an event."""
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar(Output(stdout=io.StringIO(), stderr=Terminal(), environ={"TERM": "xterm"}), "gateway")
    bar.update(shown)
    file = io.StringIO()
    Console(file=file, width=width).print(bar._draw())
    bar.close()
    return file.getvalue()


def test_a_bar_shows_share_rate_eta_peers_and_what_holds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    text = bar_of(event(580, held_back="the throttle"), 140, monkeypatch)
    for part in ("gateway:2.4.1", "58 %", "580 B of 1000 B", "41 Mbit/s", "~4 s", "peers 2: kiosk-07 100 %"):
        assert part in text
    assert "held back by: the throttle" in text


def test_a_bar_of_a_stick_speaks_of_no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = bar_of(of_a_stick(580), 100, monkeypatch)
    assert "4.9 MiB/s" in text and "peers" not in text


def test_a_bar_stays_on_one_line_of_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(bar_of(event(580), 80, monkeypatch).splitlines()) == 2


def test_each_place_gets_its_kind() -> None:
    def kind(stderr: io.StringIO, term: str = "xterm", **options: Any) -> type:
        out = Output(stdout=io.StringIO(), stderr=stderr, environ={"TERM": term}, **options)
        progress = progress_of(out, "get", "a")
        progress.close()
        return type(progress)

    assert kind(io.StringIO()) is LogLines
    assert kind(Terminal()) is Bar
    assert kind(Terminal(), term="dumb") is LogLines
    assert kind(Terminal(), quiet=True) is Silence
    assert kind(Terminal(), json=True) is JsonLines
