"""The tick over real sockets: marks and clamps arrive, a pause holds at once, and off means off."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfedge.core.seams import ImageId
from dfedge.throttle.policy import Caps, Policy
from dfedge.throttle.throttle import Throttle

IMAGE = ImageId(bytes(32))


class Session:
    name = "kiosk-07"

    def __init__(self, sock: socket.socket) -> None:
        self.socket: socket.socket | None = sock
        self.address = "{}:{}".format(*sock.getpeername())


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


def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing pass"):
        Policy(host=Caps(up=0))
    with pytest.raises(ValueError, match="nothing pass"):
        Policy(host=Caps(down=-1))
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        Throttle(Policy(lan_prefixes=("10.0.0.0/99",)), lambda: (), tmp_path)
