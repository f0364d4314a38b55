"""dfedge top: what somebody who watches sees, on every terminal, and how they get out of it."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from dfedge.cli.spark import ASCII_STEPS, STEPS, History, sparkline
from dfedge.cli.topframe import Room, measured, picture
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document

StartAgent = Callable[[Mapping[str, Handler]], None]
LOAD: Document = {
    "cpu": {"own": 0.03, "others": 0.68, "steal": 0.0, "busy": 0.71, "cores": 4},
    "memory": {"total": 2**32, "available": 2**30, "swap_used": 0},
    "disk": {"busy": 0.12, "queue": 0.3, "own": 6 * 2**20, "others": 0.0},
    "celsius": 57.0,
    "pressure": {"memory": {"some": 18.0, "full": 2.0}, "io": {"some": 2.0, "full": 0.0}},
}
ANSWER: Document = {
    "node": {"id": "a" * 52, "name": "gw-12"}, "uptime": 260_000.0, "rss": 47 * 2**20,
    "rate_down": 5_125_000, "rate_up": 1_500_000,
    "throttle": {
        "enabled": True, "budget_up": None, "budget_down": 6_250_000, "reason": "cap of 50 Mbit/s down",
        "setting": "throttle.max_down", "paused": None, "paused_by": None, "pause_left": None, "load": LOAD,
    },
    "images": [
        {"name": "kiosk", "version": "1.9", "state": "seeding", "bytes_total": 100, "bytes_done": 100, "peers": 3,
         "peers_open": 0, "rate_down": 0, "rate_up": 1_100_000, "eta": None, "limited_by": None},
        {"name": "gateway", "version": "2.4.1", "state": "fetching", "bytes_total": 100, "bytes_done": 58, "peers": 9,
         "peers_open": 4, "rate_down": 5_125_000, "rate_up": 400_000, "eta": 3.2,
         "limited_by": "the throttle: cap of 50 Mbit/s down"},
    ],
    "peers": [
        {"id": "b" * 52, "name": "kiosk-07", "state": "connected", "rate_down": 3_000_000, "rate_up": 0,
         "bytes_down": 2**21, "bytes_up": 0},
    ],
}  # fmt: skip


def lines_of(answer: Document, room: Room, seconds: int = 0) -> list[str]:
    history = History()
    for second in range(seconds):
        history.add(float(second), measured(answer))
    return [line.text for line in picture(answer, history, room)]


def test_a_picture_shows_images_peers_budget_and_host() -> None:
    assert lines_of(ANSWER, Room()) == [
        "dfedge gw-12   up 3 d 13 min   RSS 47.0 MiB   1 peer",
        "down  41 Mbit/s, at most 50 Mbit/s",
        "up    12 Mbit/s, no limit",
        "limit cap of 50 Mbit/s down (throttle.max_down)",
        "IMAGE          STATE      DONE  PEERS        DOWN          UP   ETA  LIMITED BY",
        "gateway:2.4.1  fetching   58 %    4/9   41 Mbit/s  3.2 Mbit/s  ~3 s  cap of 50 Mbit/s down",
        "kiosk:1.9      seeding   100 %    0/3  0.0 Mbit/s  8.8 Mbit/s     -  -",
        "PEER           DOWN          UP      GOT  GAVE  STATE",
        "kiosk-07  24 Mbit/s  0.0 Mbit/s  2.0 MiB   0 B  connected",
        "CPU   71 % busy: others 68 %, dfedge 3 %",
        "MEM   75 % used, 1.0 GiB of 4.0 GiB left",
        "PSI memory  18 % of the time somebody waited",
        "PSI io      2 % of the time somebody waited",
        "DISK  12 % busy: others 0 B/s, dfedge 6.0 MiB/s",
        "HEAT  57 °C",
    ]


def test_the_last_minute_is_drawn_beside_what_is_measured() -> None:
    lines = lines_of(ANSWER, Room(), seconds=90)
    assert lines[1] == f"down  {'█' * 20}  41 Mbit/s, at most 50 Mbit/s"
    assert next(line for line in lines if line.startswith("CPU")).startswith(f"CPU   {'▆' * 20}  71 %")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("lines", [5, 24, 60])
def test_a_picture_fits_every_terminal(columns: int, lines: int) -> None:
    image: Document = ANSWER["images"][1]  # type: ignore[index]
    peer: Document = ANSWER["peers"][0]  # type: ignore[index]
    crowd = {**ANSWER, "images": [image] * 30, "peers": [{**peer, "name": "n" * 63}] * 24}
    for answer in (ANSWER, crowd, {**ANSWER, "images": [], "peers": []}):
        drawn = lines_of(answer, Room(columns, lines, keys="q quits"), seconds=61)
        assert len(drawn) <= lines
        assert max(map(len, drawn)) <= columns
    if lines == 24 and columns >= 40:
        assert len([line for line in lines_of(crowd, Room(columns, lines)) if re.match(r"and \d+ more", line)]) == 2
        assert lines_of(crowd, Room(columns, lines))[-1] == "HEAT  57 °C"


def test_what_the_host_lacks_is_left_out() -> None:
    throttle: Document = {**ANSWER["throttle"], "load": {"memory": LOAD["memory"]}}  # type: ignore[dict-item]
    shown = "\n".join(lines_of({**ANSWER, "throttle": throttle}, Room(), seconds=3))
    assert "MEM " in shown
    assert not re.search("CPU|PSI|DISK|HEAT|BATT", shown)
    assert measured({}) == {"down": 0, "up": 0}
    assert picture({}, History(), Room(40, 24))


def test_a_terminal_of_ascii_gets_ascii() -> None:
    drawn = lines_of(ANSWER, Room(40, 24, ascii=True), seconds=20)
    assert all(line.isascii() for line in drawn)


def test_a_minute_is_kept_and_no_more_and_a_stretch_shows_its_highest() -> None:
    history = History()
    for tenth in range(2000):
        history.add(tenth / 10, {"down": float(tenth)})
    assert 50 <= len(history.of("down")) <= 60
    assert history.of("down")[-1] == 1999
    assert history.of("heat") == []
    assert sparkline([0, 0, 8, 0], 2) == "▁█"
    assert sparkline([1.0], 9) == ""
    assert sparkline([0, 0], 9) == "▁▁"
    assert len(ASCII_STEPS) == len(STEPS)


@pytest.fixture
def watched(agent: StartAgent) -> Document:
    """An agent that answers; what it says may be changed."""
    answer = dict(ANSWER)

    async def top(params: Document, call: Call) -> Document:
        return answer

    agent({"top": top})
    return answer


def test_once_is_plain_text_without_rich(watched: Document, dfedge: Any) -> None:
    ran = dfedge("top", "--once")
    assert ran.code == 0
    assert ran.out.splitlines() == lines_of(ANSWER, Room())
    program = "import sys; from dfedge.cli.app import main; main(['top', '--once']); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_json_once_is_one_line_of_the_same(watched: Document, dfedge: Any) -> None:
    ran = dfedge("top", "--once", "--json")
    document = json.loads(ran.out)
    assert document.pop("ts")
    assert document == {"v": 1, "type": "top", **ANSWER}


@pytest.mark.parametrize("words", [["--json"], []])
def test_without_a_terminal_it_is_a_stream_until_a_signal(watched: Document, words: list[str]) -> None:
    command = [sys.executable, "-m", "dfedge", "top", "--interval", "0.2", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 3:
            line = process.stdout.readline()
            assert line
            if words:
                assert json.loads(line)["type"] == "top"
            seen += '"top"' in line or line.startswith("dfedge gw-12")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "dfedge: interrupted [halted]\n"
    assert not words or json.loads(out.splitlines()[-1])["code"] == "halted"


@pytest.mark.parametrize("interval", ["0", "0.1", "2h", "soon"])
def test_an_interval_that_makes_no_sense_is_wrong_usage(dfedge: Any, interval: str) -> None:
    ran = dfedge("top", "--interval", interval)
    assert (ran.code, "[usage]" in ran.err) == (2, True)


def test_without_an_agent_it_says_so(dfedge: Any) -> None:
    ran = dfedge("top")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("[agent_down]\n  try: dfedge agent\n")


class Terminal:
    """A terminal in which `dfedge top` runs."""

    def __init__(self, columns: int, process: "subprocess.Popen[bytes]", fd: int, slave: int) -> None:
        self.columns, self.process = columns, process
        self._fd, self._slave = fd, slave
        self.said = ""

    def see(self, what: str) -> None:
        end = time.monotonic() + 20
        while what not in self.said:
            assert time.monotonic() < end, (what, self.said[-2000:])
            self._read()

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def left(self) -> int:
        end = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < end, self.said[-2000:]
            self._read()
        while self._read():
            pass
        return self.process.returncode

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 0.1)[0]:
            return False
        self.said += os.read(self._fd, 65536).decode()
        return True


@contextmanager
def terminal(columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    fd, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    program = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from dfedge.cli.app import main"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}; sys.exit(main(['top', '--interval', '0.3']))"],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={**environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    try:
        yield Terminal(columns, process, fd, slave)
    finally:
        process.kill()
        process.wait()
        os.close(fd)
        os.close(slave)


def shown(said: str) -> list[str]:
    """The text of what was written to a terminal."""
    said = said.replace("\x1b[H", "\n")  # from the top again
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).replace("\r", "").split("\n")


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_terminal_is_redrawn_and_q_gives_it_back(watched: Document, columns: int) -> None:
    with terminal(columns) as screen:
        before = screen.modes
        screen.see("HEAT")
        assert screen.modes[3] != before[3]
        watched["node"] = {"id": "a" * 52, "name": "gw-13"}
        screen.see("gw-13")
        screen.see("▆")
        screen.type(b"x")
        screen.type(b"q")
        assert screen.left() == 0
        assert screen.modes == before
        assert "\x1b[?1049l" in screen.said and "\x1b[?25h" in screen.said
        assert max(map(len, shown(screen.said))) <= columns
        assert "Traceback" not in screen.said


def test_ctrl_c_gives_the_terminal_back_too(watched: Document) -> None:
    with terminal() as screen:
        before = screen.modes
        screen.see("HEAT")
        screen.type(b"\x03")
        assert screen.left() == 130
        assert screen.modes == before
        after = screen.said.rpartition("\x1b[?1049l")[2]
        assert "dfedge: interrupted [halted]" in after
        assert "Traceback" not in screen.said


def test_an_agent_that_goes_away_is_one_line(agent: StartAgent) -> None:
    asked = 0

    async def top(params: Document, call: Call) -> Document:
        nonlocal asked
        asked += 1
        if asked > 2:
            call._connection._sock.close()  # as when the agent is killed
        return ANSWER

    agent({"top": top})
    with terminal() as screen:
        before = screen.modes
        assert screen.left() == 1
        assert screen.modes == before
        after = screen.said.rpartition("\x1b[?1049l")[2]
        said = [line for line in shown(after) if line.strip()]
        assert len(said) == 2
        assert "went away before it had answered [agent_down]" in said[0]
        assert said[1].startswith("  try: dfedge ")
