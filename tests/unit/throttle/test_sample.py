"""Reading the host: what is missing is absent, nonsense is ignored and said once."""

import logging
from pathlib import Path

import pytest

from dfedge.throttle.load import Load
from dfedge.throttle.sample import Sampler


class Clock:
    now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _sampler(root: Path) -> Sampler:
    return Sampler(root, Clock(), root)


def test_this_host_is_read_and_every_share_is_one(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, Clock())
    sampler.sample()
    load = sampler.sample()
    for _ in range(1000):  # the kernel counts CPU time in hundredths of a second: until one is over there is no share
        if load.cpu is not None:
            break
        sum(range(200_000))
        load = sampler.sample()
    assert load.cpu is not None and load.memory is not None
    assert all(0 <= share <= 1 for share in (load.cpu.own, load.cpu.others, load.cpu.steal, *load.cpu.cores))
    assert 0 < load.memory.available <= load.memory.total
    assert "lo" in sampler.counters()


def test_a_hot_board_is_read_from_its_zones(tmp_path: Path) -> None:
    _write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "47000\n")
    _write(tmp_path / "sys/class/thermal/thermal_zone1/temp", "85000\n")
    assert _sampler(tmp_path).sample().celsius == 85.0


def test_a_sensor_that_returns_nonsense_is_ignored_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "-274000\n")
    _write(tmp_path / "sys/class/thermal/thermal_zone1/temp", "51000\n")
    _write(tmp_path / "proc/pressure/io", "some avg10=-3.00 avg60=0 avg300=0 total=0\n")
    _write(tmp_path / "proc/pressure/cpu", "rubbish\n")
    sampler = _sampler(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            load = sampler.sample()
    assert load.celsius == 51.0
    assert "io" not in load.pressure and "cpu" not in load.pressure
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 3
    assert any("sensor=temperature" in line and "-274" in line for line in said)


def test_pressure_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    text = "some avg10=80.00 avg60=1 avg300=1 total=5\nfull avg10=60.50 avg60=1 avg300=1 total=3\n"
    _write(tmp_path / "proc/pressure/io", text)
    pressure = _sampler(tmp_path).sample().pressure["io"]
    assert (pressure.some, pressure.full) == (80.0, 60.5)
    assert pressure.is_mixed  # no control group of our own tells our waiting apart


def test_what_a_host_does_not_tell_is_named(tmp_path: Path) -> None:
    sampler = _sampler(tmp_path)
    load: Load = sampler.sample()
    assert load.pressure == {} and load.disk is None
    assert {"pressure io", "disk"} <= set(sampler.missing)
