"""The comparison: if it lies, every claim about speed that stands on it lies."""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from bench import command, page, plot, record, report
from bench.meter import Meter
from bench.scenario import MIB, NAMED, Scenario
from bench.stage import SEED, Image
from bench.summary import Spread, by_rate, ratios, rows
from bench.system import System
from bench.torrent import bencode
from bench.torrent import write as write_torrent
from bench.trial import Trial, run
from bench.wire import Wire
from board import Broken
from lab import Lan
from lab.place import NAMESPACES

SCRIPTS = Path(__file__).parents[3] / "scripts"
FAST = NAMED["fast8"]


def trial(system: str, round_: int, makespan: float, cpu: float = 1.0, failed: str = "") -> Trial:
    made = Trial(system, "fast8", round_, load=0.5, failed=failed, makespan_s=makespan, cpu_s=cpu)
    made.seed_sent, made.taker_peak = 2 * FAST.size, 40 * MIB
    made.done_s = dict.fromkeys(FAST.numbers, makespan)
    made.curves = {taker: [(0.0, 0), (makespan, FAST.size)] for taker in FAST.numbers}
    return made


# Scenarios


def test_the_bound_is_the_image_over_the_line_rate() -> None:
    assert FAST.line_s() == pytest.approx(5.369, abs=0.001)
    assert NAMED["unshaped4"].line_s() is None


def test_a_late_joiner_starts_at_its_share_of_the_bound() -> None:
    assert NAMED["late"].start_s(8) == pytest.approx(2.684, abs=0.001)
    assert NAMED["late"].start_s(1) == 0.0


def test_who_leaves_need_not_have_all_of_it() -> None:
    assert Scenario("leave", 3, MIB, leaves={2: 1.0}).stayers == (1, 3)


def test_an_impossible_scenario_is_refused_before_anything_is_started() -> None:
    with pytest.raises(Broken, match="no taker 9"):
        Scenario("late", 8, MIB, 100.0, late={9: 0.5})
    with pytest.raises(Broken, match="2 rates for 3 takers"):
        Scenario("mixed", 3, MIB, 100.0, taker_rates=(10.0, 10.0))
    with pytest.raises(Broken, match="need a rate"):
        Scenario("late", 8, MIB, late={8: 0.5}).start_s(8)


def test_every_row_that_is_promised_can_be_called_by_name() -> None:
    wanted = {"fast8", "mid16", "unshaped4", "unshaped1", "many32", "mixed", "seed-dies", "late", "loss1", "agents60"}
    assert wanted == set(NAMED)


def test_a_changed_scenario_is_not_taken_for_the_named_one() -> None:
    changed = command.parse(["fast8", "--rates", "100,10", "--late", "2:0.5", "--loss", "10"]).scenario
    assert (changed.name, changed.takers, changed.rates) == ("fast8-changed", 2, (100.0, 100.0, 10.0))
    assert (changed.late, changed.loss_permille) == ({2: 0.5}, 10)
    assert command.parse(["fast8"]).scenario is FAST


def test_an_unknown_system_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.parse(["fast8", "--systems", "dfedge,pigeon"])
    assert caught.value.code == 2
    assert "unknown: pigeon" in capsys.readouterr().err


# Numbers


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--rate=-5", "at least 0"),
        ("--loss=2000", "0 to 999"),
        ("--size=0", "at least 0.001"),
        ("--seed-dies=-1", "at least 0.001"),
        ("--leave=3:-1", "at least 0"),
        ("--late=x", "as 8:0.5"),
        ("--rates=10,fast", "fast is no number"),
    ],
)
def test_a_value_that_no_link_has_is_wrong_usage_before_anything_runs(
    capsys: pytest.CaptureFixture[str], option: str, says: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.parse(["fast8", option])
    assert says in capsys.readouterr().err


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_hits_both() -> None:
    runs = [
        trial("dfedge", 1, 6.0),
        trial("libtorrent", 1, 12.0),
        trial("dfedge", 2, 60.0),
        trial("libtorrent", 2, 100.0),
    ]
    assert ratios(runs, lambda one: one.makespan_s)["libtorrent"] == Spread(0.55, 0.5, 0.6)


def test_a_failed_run_is_counted_and_its_numbers_are_not() -> None:
    runs = [trial("dfedge", 1, 6.0), trial("dfedge", 2, 0.1, failed="node 3: gave up")]
    [row] = rows(FAST, runs)
    assert row.makespan_s == Spread(6.0, 6.0, 6.0)
    text = report.table(FAST, runs, {"uftp": "not installed"})
    assert "1 of 2" in text
    assert "- dfedge failed: node 3: gave up" in text
    assert "skipped: not installed" in text


def test_the_table_says_if_the_seed_outlived_the_run_that_was_to_kill_it() -> None:
    died, lived = trial("libtorrent", 1, 9.0), trial("dfedge", 1, 6.0)
    died.seed_died_s = 3.0
    text = report.table(NAMED["seed-dies"], [lived, died], {})
    assert "- dfedge, the seed was killed in 0 of 1 runs: it never sent 1.05 ×" in text
    assert "- libtorrent, the seed was killed in 1 of 1 runs, after 3.00 s" in text


def test_cpu_is_per_gib_that_was_delivered() -> None:
    [row] = rows(FAST, [trial("dfedge", 1, 6.0, cpu=4.0)])
    assert row.cpu_s_per_gib is not None and row.cpu_s_per_gib.mid == pytest.approx(8.0)


def test_nodes_on_slow_links_are_judged_by_their_own_line() -> None:
    mixed = NAMED["mixed"]
    one = trial("dfedge", 1, 30.0)
    one.done_s = {taker: 3.0 if taker <= 4 else 28.0 for taker in mixed.numbers}
    assert {rate: spread.mid for rate, spread in by_rate(mixed, [one], "dfedge").items()} == {100.0: 3.0, 10.0: 28.0}


def test_runs_can_be_read_again_and_a_broken_line_is_named(tmp_path: Path) -> None:
    kept = tmp_path / "runs"
    runs = [trial("dfedge", 1, 6.0), trial("uftp", 1, 5.8)]
    for one in runs:
        record.append(kept, one)
    assert record.read(kept, "fast8") == runs
    assert record.read(kept, "late") == []
    kept.write_text(kept.read_text() + "nonsense\n")
    with pytest.raises(Broken, match="line 3"):
        record.read(kept, "fast8")


# What is written


def test_a_comparison_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    written = tmp_path / "performance.md"
    written.write_text("# Performance\n\nbefore\n\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n\nafter\n")
    page.write(written, "a", "new")
    assert written.read_text() == "# Performance\n\nbefore\n\n<!-- bench:a -->\nnew\n<!-- /bench:a -->\n\nafter\n"
    page.write(written, "b", "added")
    page.write(written, "b", "added")
    assert written.read_text().endswith("after\n\n<!-- bench:b -->\nadded\n<!-- /bench:b -->\n")


def test_a_page_with_a_lone_marker_is_left_as_it_is(tmp_path: Path) -> None:
    written = tmp_path / "performance.md"
    written.write_text("<!-- bench:a -->\nwithout an end\n")
    with pytest.raises(Broken, match="one of each is meant"):
        page.write(written, "a", "new")
    assert written.read_text() == "<!-- bench:a -->\nwithout an end\n"


def test_the_picture_is_well_formed_and_names_every_system() -> None:
    runs = [trial("dfedge", 1, 6.0), trial("<uftp & co>", 1, 5.8), trial("aria2", 1, 1.0, failed="no")]
    root = ET.fromstring(plot.draw(FAST, runs, "a machine"))
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("dfedge") == 4
    assert "<uftp & co>: received, by node" in words
    assert "aria2" not in words


def test_a_torrent_is_spelled_as_every_client_reads_it(tmp_path: Path) -> None:
    assert bencode({"b": [1, -2], "a": b"\0x"}) == b"d1:a2:\0x1:bli1ei-2eee"
    image = tmp_path / "image.bin"
    image.write_bytes(b"x" * 300_000)
    write_torrent(image, tmp_path / "t", "http://tracker/")
    data = (tmp_path / "t").read_bytes()
    assert data.startswith(b"d8:announce15:http://tracker/4:infod6:lengthi300000e4:name9:image.bin")
    assert b"6:pieces40:" in data


# Runs


class Shell(System):
    """Takers run a shell command; $IMAGE and $OUT are the paths."""

    name: ClassVar = "shell"
    words: ClassVar = "a shell command"
    script: ClassVar = 'cp "$IMAGE" "$OUT"'

    def prepare(self) -> None:
        self._running: dict[int, subprocess.Popen[str]] = {}

    def go(self, taker: int) -> None:
        env = {"IMAGE": str(self.stage.image.path), "OUT": str(self.stage.output(taker)), "TAKER": str(taker)}
        self._running[taker] = self.stage.start(taker, ["sh", "-c", self.script], env)

    def done(self, taker: int) -> bool:
        return self.stage.succeeded(self._running[taker], taker)


def shell(words: str) -> type[Shell]:
    return type("Told", (Shell,), {"script": words})


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image.make(tmp_path, 100_000)


def run_it(system: type[System], scenario: Scenario, image: Image, tmp_path: Path) -> Trial:
    done = run(system, scenario, image, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()
    assert not list(NAMESPACES.glob(f"dfl-bench{os.getpid()}x*"))
    return done


@pytest.mark.netns
def test_a_run_tells_when_each_node_was_done_and_leaves_nothing(image: Image, tmp_path: Path) -> None:
    system = shell('[ $TAKER = 2 ] && sleep 0.3; cp "$IMAGE" "$OUT"')
    done = run_it(system, Scenario("self", 2, image.size), image, tmp_path)
    assert done.failed == ""
    assert done.done_s[1] < done.done_s[2] <= done.makespan_s
    assert done.done_s[2] >= 0.3
    assert [seconds for seconds, _ in done.curves[2]] == sorted(seconds for seconds, _ in done.curves[2])


@pytest.mark.netns
def test_a_copy_that_differs_is_a_failure_whatever_the_program_says(image: Image, tmp_path: Path) -> None:
    done = run_it(
        shell('head -c 99999 "$IMAGE" >"$OUT"; echo >>"$OUT"'), Scenario("self", 1, image.size), image, tmp_path
    )
    assert "its file has SHA-256" in done.failed


@pytest.mark.netns
def test_a_program_that_fails_is_named_with_its_last_words(image: Image, tmp_path: Path) -> None:
    done = run_it(shell("echo out of luck >&2; exit 7"), Scenario("self", 1, image.size), image, tmp_path)
    assert done.failed == "node 1: a process ended with 7: out of luck"


@pytest.mark.netns
def test_late_and_leaving_nodes_are_late_and_leave(image: Image, tmp_path: Path) -> None:
    system = shell('[ $TAKER = 2 ] && sleep 1000; cp "$IMAGE" "$OUT"')
    scenario = Scenario("self", 3, image.size, 1.0, late={3: 0.5}, leaves={2: 0.2})
    done = run_it(system, scenario, image, tmp_path)
    assert done.failed == ""
    assert set(done.done_s) == {1, 3}
    assert done.makespan_s >= 0.4 > done.done_s[3]  # half of 0.8 s, and of its own start next to nothing


BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@pytest.mark.netns
def test_cpu_of_children_that_are_gone_is_not_forgotten(image: Image, tmp_path: Path) -> None:
    system = shell(f'{sys.executable} -c "{BURN}"; cp "$IMAGE" "$OUT"')
    done = run_it(system, Scenario("self", 1, image.size), image, tmp_path)
    assert 0.28 <= done.cpu_s < 3
    assert done.taker_peak > 5 * MIB


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan("bench", 2) as made:
        yield made


SEND = "import socket, sys\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(1000), (sys.argv[1], 9))"


@pytest.mark.netns
def test_bytes_of_each_cable_are_those_of_the_kernel(lan: Lan) -> None:
    ignored: list[int] = []
    wire = Wire(lan, ignored.append)
    try:
        before = wire.sent(SEED)
        lan.run(SEED, [sys.executable, "-c", SEND, lan.address(1)])
        assert wire.sent(SEED) - before >= 1000
        assert wire.sent(SEED) == lan.counters(SEED).tx_bytes
    finally:
        wire.close()
    meter = Meter(lan)
    meter.look()
    assert set(meter.pids(0) + meter.pids(1)) == set(ignored)
    meter.ignore(ignored[0])
    meter.look()
    assert ignored[0] not in meter.pids(0)


@pytest.mark.netns
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_comparison_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    argv = [sys.executable, "-m", "bench", "fast8", "--nodes", "2", "--size", "1", "--systems", "dfedge"]
    env = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    started = subprocess.Popen(
        [*argv, "--temp", str(tmp_path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("dfbench-*/1-dfedge/node0")):
        assert time.monotonic() < deadline and started.poll() is None, started.communicate()
        time.sleep(0.02)
    started.send_signal(number)
    _, err = started.communicate(timeout=20)
    assert started.returncode == code, err
    assert list(tmp_path.iterdir()) == []
    assert not list(NAMESPACES.glob(f"dfl-bench{started.pid}x*"))
