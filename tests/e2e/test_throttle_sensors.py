"""A board that is hot, or on a battery that is nearly empty, or whose disk keeps programs waiting: sensors faked in a
mount namespace of the agent's own."""

import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory

import pytest
from fleet import Board, Fleet, until

pytestmark = [pytest.mark.alone, pytest.mark.netns, pytest.mark.timeout(180)]
MIB = 1024 * 1024
PRESSURE = Path("/proc/pressure/io")  # some kernels tell none
QUIET = "some avg10={0:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


class Host:
    """What the agent is told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zone = folder / "class" / "thermal" / "thermal_zone0" / "temp"
        self._battery = folder / "class" / "power_supply" / "BAT0"
        self._pressure = folder / "io"
        for path in (self._zone.parent, self._battery):
            path.mkdir(parents=True)
        self.heat(45)
        self.charge(90)
        self.wait(0)

    @property
    def mounts(self) -> list[str]:
        """What the agent is started by, so that it sees this host."""
        script = f"mount --bind {self.folder}/class /sys/class"
        if PRESSURE.exists():
            script += f" && mount --bind {self.folder}/io {PRESSURE}"
        return ["unshare", "--mount", "sh", "-c", script + ' && exec "$@"', "sh"]

    def heat(self, celsius: int) -> None:
        self._zone.write_text(f"{celsius * 1000}\n")

    def charge(self, percent: int) -> None:
        fields = {"present": 1, "capacity": percent, "status": "Discharging", "type": "Battery"}
        fields |= {"energy_now": percent, "energy_full": 100, "power_now": 1}
        for name, value in fields.items():
            (self._battery / name).write_text(f"{value}\n")

    def wait(self, percent: float) -> None:
        self._pressure.write_text(QUIET.format(percent))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Iterator[Board]:
    """It fetches 60 MiB at 1 MB/s, so that there is something to hold back; one for all tests, as it takes long."""
    tmp_path = tmp_path_factory.mktemp("fleet")
    fleet = Fleet(tmp_path)
    try:
        seed, board = fleet.board(), fleet.board()
        board.under = host.mounts
        board.settings |= {"DFEDGE_THROTTLE_PROFILE": "background", "DFEDGE_THROTTLE_MAX_DOWN": "1 MB/s"}
        board.settings["DFEDGE_THROTTLE_CPU"] = "100"  # what else runs here is not for this test
        seed.start()
        board.start()
        until(lambda: board.name in seed.connected(), "the two to be connected")
        (tmp_path / "image").write_bytes(os.urandom(60 * MIB))
        seed.ask("publish", str(tmp_path / "image"), "--name", "image", "--version", "1")
        fetch = board.popen(["get", "image:1"], -1, -1)
        until(lambda: bool(board.ask("why")["images"]), "the fetch to have begun")
        yield board
        fetch.kill()
        fetch.communicate()
    finally:
        fleet.stop()


def reasons(board: Board) -> str:
    return " ".join(limit["reason"] for limit in board.ask("throttle", "show")["limits"])


def test_heat_holds_transfers_back_until_it_is_over(board: Board, host: Host) -> None:
    host.heat(85)
    until(lambda: "the board is at 85 °C" in reasons(board), "the heat to be seen")
    assert "the board is at 85 °C" in board.run("why", "image:1").stdout
    host.heat(60)
    until(lambda: "°C" not in reasons(board), "the board to be cool again")


def test_a_battery_that_is_low_holds_transfers_back_until_it_is_charged(board: Board, host: Host) -> None:
    host.charge(12)
    until(lambda: "the battery is at 12%" in reasons(board), "the battery to be seen")
    host.charge(80)
    until(lambda: "battery" not in reasons(board), "transfers to be let go")


def test_a_disk_that_keeps_programs_waiting_slows_receiving_until_it_does_not(board: Board, host: Host) -> None:
    if not PRESSURE.exists():
        return
    host.wait(80)
    until(lambda: "programs waited for the disk in 80 %" in reasons(board), "the disk to be seen")
    host.wait(1)
    until(lambda: "the disk" not in reasons(board), "transfers to be let go")


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel tells no pressure")
def test_publishing_leaves_the_disk_to_programs_that_wait_for_it(board: Board, host: Host) -> None:
    host.wait(80)
    until(lambda: "programs waited for the disk in 80 %" in reasons(board), "the disk to be seen")
    with TemporaryDirectory(dir="/dev/shm") as memory:  # on one disk a file might be cloned, and nothing be written
        image = Path(memory) / "image"
        image.write_bytes(os.urandom(16 * MIB))
        publishing = board.popen(["publish", str(image), "--name", "other", "--version", "1"], -1, -1)
        try:
            until(lambda: any((board.state / "partial").glob("stage-*/1")), "the file to be read")
            with pytest.raises(TimeoutExpired):
                publishing.wait(5)
            host.wait(1)
            assert publishing.wait(60) == 0
        finally:
            publishing.kill()
            publishing.communicate()


def test_a_sensor_that_returns_nonsense_is_ignored_and_said_once(board: Board, host: Host) -> None:
    host.heat(9000)
    until(lambda: "sensor ignored sensor=temperature" in board.said, "the nonsense to be logged")
    assert "°C" not in reasons(board)
    assert board.said.count("sensor ignored sensor=temperature") == 1
