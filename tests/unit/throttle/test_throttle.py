"""The tick over real sockets: marks and clamps arrive, a pause holds at once, and off means off."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfedge.core.seams import ImageId
from dfedge.throttle import path
from dfedge.throttle.controller import Budget, Controller, Limit, Link, Share
from dfedge.throttle.load import Load, Pressure
from dfedge.throttle.path import Info
from dfedge.throttle.policy import Caps, Policy
from dfedge.throttle.route import Route
from dfedge.throttle.sample import Sampler
from dfedge.throttle.throttle import SLOWEST_S, Throttle, pause_s

IMAGE = ImageId(bytes(32))


class Session:
    name = "kiosk-07"
    strain = (0.0, 0.0)

    def __init__(self, sock: socket.socket) -> None:
        self.socket: socket.socket | None = sock
        self.address = "{}:{}".format(*sock.getpeername())
        self.heard: list[tuple[int, int]] = []

    def say_strained(self, up_ms: int, down_ms: int) -> None:
        self.heard.append((up_ms, down_ms))


@pytest.fixture
def session() -> Iterator[Session]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        yield Session(ours)


def test_a_new_policy_holds_at_once(session: Session, tmp_path: Path) -> None:
    throttle = Throttle(Policy(), lambda: [session], tmp_path)
    with throttle.limiter.down.lane(session.address) as lane:
        throttle.tick()
        assert lane.wait(IMAGE) == 0.0
        throttle.change(Policy(paused="by a command"))
        assert lane.wait(IMAGE) > 0
        assert throttle.budget.reason == "paused: by a command"
        throttle.change(Policy(host=Caps(down=125_000)))
        assert lane.wait(IMAGE) == 0.0
        assert lane.grain == 2500
        assert throttle.budget.down.reason == "cap of 1.0 Mbit/s down"


def test_sessions_that_come_and_go_leave_nothing_behind(session: Session, tmp_path: Path) -> None:
    sessions = [session]
    throttle = Throttle(Policy(), lambda: sessions, tmp_path)
    throttle.tick()
    assert session.socket is not None
    assert session.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 4
    session.socket = None
    throttle.tick()
    sessions.clear()
    throttle.tick()
    assert throttle.traffic == {}


def test_peers_hear_what_another_flow_in_our_link_does_to_them_and_when_it_ends(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, strain_s = [0.0], [0.0]
    throttle = Throttle(Policy(), lambda: [session], tmp_path, clock=lambda: now[0])
    moved = [0]

    def look(_: object) -> Info:
        moved[0] += 100_000
        return Info(0.02, 0.0005, True, moved[0], moved[0], 0, 0, moved[0] // 1448, 0)

    def decide(*_: object) -> Budget:
        up = Share(Limit(), None, Limit(), 12e6, strain_s[0])
        return Budget(links={"eth0": Link(up, Share(Limit(), None, Limit(), 12e6))})

    monkeypatch.setattr(throttle.routes, "of", lambda _: Route("eth0", on_link=True))
    monkeypatch.setattr(path, "look", look)
    monkeypatch.setattr(Controller, "step", lambda _self, *args: decide(*args))
    for strained in (0.0, 0.018, 0.0):
        strain_s[0] = strained
        for _ in range(25):
            now[0] += 0.1
            throttle.tick()
    assert session.heard[0] == (0, 18) and session.heard[-1] == (0, 0)
    assert session.heard.count((0, 18)) == 3 and session.heard.count((0, 0)) == 1
    assert not throttle._told


@pytest.mark.anyio
async def test_an_import_leaves_the_disk_to_programs_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, pressure = [0.0], [80.0]
    throttle = Throttle(Policy(), lambda: [], tmp_path, clock=lambda: now[0])

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        throttle.tick()

    monkeypatch.setattr("dfedge.throttle.throttle.anyio.sleep", sleep)
    monkeypatch.setattr(Sampler, "sample", lambda _: Load(pressure={"io": Pressure(pressure[0], 0.0)}))
    for _ in range(40):
        await sleep(1.0)
    began = now[0]
    for _ in range(30):
        await throttle.before_write(62_500)
    assert now[0] - began == pytest.approx(30.0, rel=0.1)  # the floor
    pressure[0] = 0.0
    ends = now[0] + 20
    while now[0] < ends:
        await throttle.before_write(62_500)
        await sleep(0.1)
    began = now[0]
    for _ in range(30):
        await throttle.before_write(62_500)
    assert now[0] == began


def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing pass"):
        Policy(host=Caps(up=0))
    with pytest.raises(ValueError, match="nothing pass"):
        Policy(host=Caps(down=-1))
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        Throttle(Policy(lan_prefixes=("10.0.0.0/99",)), lambda: (), tmp_path)


def test_looking_takes_no_more_than_a_hundredth_of_a_core_however_slow_the_board() -> None:
    assert pause_s(0.0005) == 0.1
    assert pause_s(0.002) == pytest.approx(0.2)
    assert pause_s(1.0) == SLOWEST_S


def test_a_counter_that_begins_anew_takes_nothing_off_what_was_moved(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(
        (Info(0.02, 0.0005, True, 9, 9, 0, 9, 2**32 - 1, 2**32 - 1), Info(0.02, 0.0005, True, 5, 5, 0, 5, 3, 3))
    )
    monkeypatch.setattr(path, "look", lambda _: next(looks))
    paths = path.Paths()
    paths.step([session])
    (step,) = paths.step([session])
    assert (step.up, step.down, step.packets_up, step.packets_down) == (0, 0, 0, 0)
