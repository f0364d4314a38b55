"""Real mDNS between network namespaces: nodes that do not find each other never get an image."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import Lan, available
from lab.process import Process

NODE = Path(__file__).with_name("mdns_node.py")
FLEET, STRANGERS = "fleet2abcdefghij", "other3abcdefghij"
WITHIN_S = 5.0  # what users are promised from start to all peers known

pytestmark = [
    pytest.mark.alone,
    pytest.mark.netns,
    pytest.mark.skipif(bool(available()), reason=available() or "-"),
]


def node_id(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz234567"[number] * 52


class Nodes:
    """Nodes of a LAN that run mDNS, and what each has told so far."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan = lan
        self._folder = folder
        self._processes: dict[int, Process] = {}

    def start(self, number: int, name: str = "", fleet: str = FLEET) -> None:
        argv = [sys.executable, str(NODE), node_id(number), name or f"gw-{number}", fleet, "7411"]
        with (self._folder / str(number)).open("w") as out:
            self._processes[number] = self.lan.popen(number, argv, stdout=out, stderr=out)

    def end(self, number: int) -> None:
        self._processes[number].terminate()

    def told(self, number: int, kind: str = "") -> list[dict[str, object]]:
        lines = (self._folder / str(number)).read_text().splitlines()
        events: list[dict[str, object]] = [json.loads(line) for line in lines]  # a traceback fails here, and shows
        return [event for event in events if event["type"] == kind or not kind]

    def hosts(self, number: int, of: int) -> set[object]:
        """The addresses at which a node has sighted another."""
        return {event["host"] for event in self.told(number, "sighting") if event["id"] == node_id(of)}

    def wait(self, what: str, condition: Callable[[], bool], within: float = WITHIN_S) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                told = {number: self.told(number) for number in self._processes}
                pytest.fail(f"not within {within} s: {what}\n{told}")
            time.sleep(0.05)

    def wait_for_all(self) -> None:
        everybody = set(self._processes)
        self.wait(
            "everybody sights everybody",
            lambda: all(self.hosts(one, other) for one in everybody for other in everybody - {one}),
        )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Nodes]]:
    opened: list[Lan] = []

    def nodes(count: int, **settings: bool) -> Nodes:
        lan = Lan("mdns", count, **settings)
        lan.__enter__()
        opened.append(lan)
        return Nodes(lan, tmp_path)

    yield nodes
    for lan in opened:
        lan.close()


def test_four_nodes_find_each_other_at_their_addresses_and_say_goodbye(make: Callable[..., Nodes]) -> None:
    nodes = make(4)
    for number in range(4):
        nodes.start(number)
    nodes.wait_for_all()
    [began] = [event["at"] for event in nodes.told(0, "started")]
    last = max(event["at"] for event in nodes.told(0, "sighting") if isinstance(event["at"], float))
    assert isinstance(began, float)
    assert last - began < WITHIN_S
    assert {nodes.lan.address(2), nodes.lan.link_local(2)} == nodes.hosts(0, of=2)
    nodes.end(3)
    nodes.wait("a goodbye is heard", lambda: {"type": "gone", "id": node_id(3)} in nodes.told(0, "gone"))
    nodes.wait("the node ended", lambda: bool(nodes.told(3, "ended")))
    [ended] = nodes.told(3, "ended")
    assert isinstance(ended["seconds"], float)
    assert ended["seconds"] < 2.0


def test_a_node_whose_link_went_down_and_up_finds_and_is_found_again(make: Callable[..., Nodes]) -> None:
    nodes = make(3)
    nodes.start(0)
    nodes.start(1)
    nodes.wait_for_all()
    nodes.lan.link_down(0)
    nodes.wait("the loss is noticed", lambda: any("mdns_off" in str(log["text"]) for log in nodes.told(0, "log")))
    nodes.lan.link_up(0)
    nodes.start(2)
    nodes.wait_for_all()
    assert not nodes.told(1, "gone"), "a link that flaps is not a goodbye"
    assert nodes.told(0, "change")


def test_a_node_that_starts_without_a_network_is_found_once_it_has_one(make: Callable[..., Nodes]) -> None:
    nodes = make(2)
    nodes.lan.link_down(0)
    nodes.start(0)
    nodes.start(1)
    nodes.wait("it says that it waits", lambda: bool(nodes.told(0, "log")))
    nodes.lan.link_up(0)
    nodes.wait_for_all()
    assert sum("mdns_off" in str(log["text"]) for log in nodes.told(0, "log")) == 1


def test_a_node_that_gets_another_address_is_found_there(make: Callable[..., Nodes]) -> None:
    nodes = make(2)
    nodes.start(0)
    nodes.start(1)
    nodes.wait_for_all()
    new = nodes.lan.change_address(1)
    nodes.wait("the new address is sighted", lambda: new in nodes.hosts(0, of=1))
    assert not nodes.told(0, "gone")


def test_nodes_find_each_other_with_nothing_but_link_local_ipv6(make: Callable[..., Nodes]) -> None:
    nodes = make(2, ipv6_only=True)
    nodes.start(0)
    nodes.start(1)
    nodes.wait_for_all()
    assert nodes.hosts(0, of=1) == {nodes.lan.link_local(1)}


def test_two_nodes_of_one_name_and_a_strangers_fleet_do_not_hide_anybody(make: Callable[..., Nodes]) -> None:
    nodes = make(4)
    nodes.start(0, name="watcher")
    nodes.start(1, name="gateway")
    nodes.start(2, name="gateway")
    nodes.start(3, fleet=STRANGERS)
    nodes.wait("both are sighted", lambda: bool(nodes.hosts(0, of=1)) and bool(nodes.hosts(0, of=2)))
    nodes.wait(
        "one of them took another name",
        lambda: any("mdns_name_taken" in str(log["text"]) for number in (1, 2) for log in nodes.told(number, "log")),
    )
    assert not nodes.hosts(0, of=3)
    assert not nodes.told(3, "sighting")


LISTEN = "import socket; s = socket.create_server(('', 7411)); print('ready', flush=True); s.accept()"
DIAL = """
import random, sys, anyio
from dfedge.discovery import roster, static
async def main():
    peers = roster.Roster('own', random.Random(1))
    listed = static.parse(sys.argv[1])
    for host in await static.resolve(listed):
        peers.heard(roster.Sighting(None, host, listed.port, 'static'), 0.0)
    [one] = peers.dials(0.0, frozenset(), 8)
    with anyio.fail_after(3):
        stream = await anyio.connect_tcp(one.host, one.port)
    await stream.aclose()
anyio.run(main)
"""


def test_where_multicast_is_blocked_a_listed_peer_is_still_reached(make: Callable[..., Nodes]) -> None:
    nodes = make(2)
    lan = nodes.lan
    lan.block_multicast()
    nodes.start(0)
    nodes.start(1)
    nodes.wait("mDNS is on", lambda: all(nodes.told(number, "log") for number in (0, 1)))
    listening = lan.popen(1, [sys.executable, "-c", LISTEN], stdout=-1)
    assert listening.stdout is not None
    assert listening.stdout.readline() == "ready\n"
    dialled = lan.run(0, [sys.executable, "-c", DIAL, lan.address(1)])
    assert dialled.returncode == 0, dialled.stderr
    assert not nodes.told(0, "sighting")
    lan.block_multicast(blocked=False)
    nodes.end(1)
    nodes.start(1)  # as it announces itself again, it is heard
    nodes.wait("the restarted node is sighted", lambda: bool(nodes.hosts(0, of=1)))


@pytest.mark.long
@pytest.mark.timeout(200)
def test_nodes_that_started_on_two_sides_of_a_partition_find_each_other_once_it_heals(
    make: Callable[..., Nodes],
) -> None:
    nodes = make(2)
    nodes.lan.isolate(1)
    nodes.start(0)
    nodes.start(1)
    began = time.monotonic()
    nodes.wait("the first questions are over", lambda: time.monotonic() > began + 20, within=25)
    nodes.lan.heal()
    nodes.wait("they find each other", lambda: bool(nodes.hosts(0, of=1) and nodes.hosts(1, of=0)), within=120)
