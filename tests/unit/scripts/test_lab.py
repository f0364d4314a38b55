"""The namespace LAN: if it lies, every test and number that stands on it lies."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lan, available, clean
from lab.command import LabError
from lab.place import NAMESPACES

SCRIPTS = Path(__file__).parents[3] / "scripts"

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(available()), reason=available() or "-")]


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan("self", 3) as made:
        yield made


def reaches(lan: Lan, node: int, address: str) -> bool:
    return lan.run(node, ["ping", "-c1", "-W3", address]).returncode == 0  # the kernel asks for a neighbour each second


def is_cut_off(lan: Lan, node: int, address: str) -> bool:
    return lan.run(node, ["ping", "-c1", "-W0.3", address]).returncode != 0


def namespaces(tag: str) -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob(f"dfl-{tag}*"))


def test_nodes_reach_each_other_by_ipv4_and_link_local_ipv6(lan: Lan) -> None:
    assert reaches(lan, 0, lan.address(2))
    assert reaches(lan, 2, lan.link_local(1))


def test_nine_nodes_are_there_in_two_seconds_and_gone_afterwards() -> None:
    began = time.monotonic()
    with Lan("nine", 9, rate_mbit=100) as lan:
        assert time.monotonic() - began < 2.0
        assert reaches(lan, 0, lan.address(8))
    assert not namespaces(f"nine{os.getpid()}")


def test_a_routed_node_reaches_and_is_reached() -> None:
    with Lan("routed", 3, rate_mbit=100) as lan:
        lan.route(0)
        assert reaches(lan, 0, lan.address(2))
        assert reaches(lan, 1, lan.address(0))


def test_an_ipv6_only_lan_has_no_ipv4() -> None:
    with Lan("six", 2, ipv6_only=True) as lan:
        assert lan.address(1).startswith("fe80::")
        assert reaches(lan, 0, lan.address(1))
        assert "inet " not in lan.run(0, ["ip", "addr", "show", "eth0"]).stdout


def test_partition_isolation_and_healing(lan: Lan) -> None:
    lan.partition([0, 1], [2])
    assert reaches(lan, 0, lan.address(1))
    assert is_cut_off(lan, 0, lan.address(2))
    lan.heal()
    lan.isolate(1)
    assert reaches(lan, 0, lan.address(2))
    assert is_cut_off(lan, 0, lan.address(1))
    lan.heal()
    assert reaches(lan, 0, lan.address(1))


def test_loss_drops_frames_and_can_be_taken_back(lan: Lan) -> None:
    assert reaches(lan, 0, lan.address(1))  # so that the neighbour is known
    lan.loss(1000)
    assert is_cut_off(lan, 0, lan.address(1))
    lan.loss(0)
    assert reaches(lan, 0, lan.address(1))


SEND_MULTICAST = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
for _ in range(20): s.sendto(b'x' * 1000, ('224.0.0.251', 5353))
"""


def test_blocked_multicast_leaves_unicast_alone(lan: Lan) -> None:
    def heard() -> int:
        before = lan.counters(1).rx_bytes
        lan.run(0, [sys.executable, "-c", SEND_MULTICAST, lan.address(0)])
        return lan.counters(1).rx_bytes - before

    assert heard() > 20_000
    lan.block_multicast()
    assert heard() < 1_000
    assert reaches(lan, 0, lan.address(1))


def test_a_link_that_goes_down_and_up_works_again_on_both_families(lan: Lan) -> None:
    lan.link_down(1)
    assert is_cut_off(lan, 0, lan.address(1))
    lan.link_up(1)
    assert reaches(lan, 0, lan.address(1))
    assert reaches(lan, 0, lan.link_local(1))


def test_a_node_that_changes_its_address_leaves_the_old_one(lan: Lan) -> None:
    old = lan.address(1)
    new = lan.change_address(1)
    assert new == lan.address(1) != old
    assert reaches(lan, 0, new)
    assert is_cut_off(lan, 0, old)
    lan.change_address(1)
    assert lan.address(1) == old


SINK = """
import socket
s = socket.create_server(('', 9)); print('ready', flush=True)
c, _ = s.accept()
while c.recv(1 << 16): pass
"""
SOURCE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 9)); t = time.monotonic()
s.sendall(bytes(int(sys.argv[2]))); s.shutdown(socket.SHUT_WR); s.recv(1); print(time.monotonic() - t)
"""


@pytest.mark.parametrize("rates", [(20.0, None), (None, 20.0)])
def test_both_directions_of_a_link_are_held_to_its_rate(rates: tuple[float | None, ...]) -> None:
    with Lan("rate", 2, rate_mbit=rates) as lan:
        sink = lan.popen(1, [sys.executable, "-c", SINK], stdout=subprocess.PIPE)
        assert sink.stdout is not None
        sink.stdout.readline()
        sent = lan.run(0, [sys.executable, "-c", SOURCE, lan.address(1), "2500000"])
        assert 0.9 < float(sent.stdout) < 2.0  # 2.5 MB at 20 Mbit/s: 1.0 s, and headers
        assert lan.counters(1).rx_bytes > 2_500_000


def test_processes_end_with_the_lan_also_their_children() -> None:
    with Lan("end", 1) as lan:
        shell = lan.popen(0, ["sh", "-c", "sleep 1000 & setsid sleep 1001 & echo $!; wait"], stdout=subprocess.PIPE)
        assert shell.stdout is not None
        orphan = int(shell.stdout.readline())
        assert Path(f"/proc/{orphan}").exists()
    assert shell.returncode is not None
    deadline = time.monotonic() + 5
    while _runs(orphan) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(orphan)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# The sleeper itself says who it is: before that it may not have entered its namespace.
OWNER = """
import time
from lab import Lan
with Lan('owner', 2) as lan:
    lan.popen(0, ['sh', '-c', 'echo $$; exec sleep 1000'])
    time.sleep(1000)
"""


def owner() -> tuple[subprocess.Popen[str], int]:
    started = subprocess.Popen(
        [sys.executable, "-c", OWNER], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    return started, int(started.stdout.readline())


def test_what_a_killed_run_left_is_cleaned_and_what_a_live_one_has_is_not(lan: Lan) -> None:
    killed, sleeper = owner()
    assert namespaces(f"owner{killed.pid}")  # those of the living are safe from whoever else cleans here now
    killed.kill()
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()  # the sleeper still holds the other end
    clean()
    assert not namespaces(f"owner{killed.pid}")
    deadline = time.monotonic() + 30
    while _runs(sleeper) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(sleeper)
    assert reaches(lan, 0, lan.address(1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_the_lan_down_in_order(number: signal.Signals) -> None:
    started, sleeper = owner()
    started.send_signal(number)
    started.communicate(timeout=10)
    assert not namespaces(f"owner{started.pid}")
    assert not _runs(sleeper)


def test_the_command_opens_a_lan_for_as_long_as_a_command_runs() -> None:
    script = "$LAB_EXEC_0 ping -c1 -W1 $LAB_ADDRESS_1 >/dev/null && echo reached; exit 3"
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "lab"), "--nodes", "2", "--", "sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "reached\n")


def test_a_lan_can_be_made_in_ones_own_user_namespace() -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urnm", "true"], check=False).returncode:
        pytest.skip("user namespaces cannot be made here")
    script = "$LAB_EXEC_0 ping -c1 -W1 $LAB_ADDRESS_1 >/dev/null && echo reached"
    argv = ["unshare", "-Urnm", sys.executable, str(SCRIPTS / "lab"), "--nodes", "2", "--", "sh", "-c", script]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "reached\n"), done.stderr


def test_an_impossible_lan_is_refused() -> None:
    with pytest.raises(LabError, match="1 to 99"):
        Lan("none", 0)
    with pytest.raises(LabError, match="2 rates for 3 nodes"):
        Lan("rates", 3, rate_mbit=[1.0, 2.0])
