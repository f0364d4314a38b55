"""A switch and its nodes, each in a network namespace of its own."""

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from lab import leftover, process
from lab.command import LabError, batch, run
from lab.fault import Switch
from lab.place import available, prefix

_serial: Final = itertools.count()
MAX_NODES: Final = 99  # addresses .1 to .99; .101 to .199 are those that nodes change to

Stream = int | IO[str] | IO[bytes] | None


@dataclass(frozen=True, slots=True)
class Counters:
    """What went over a node's cable since it was plugged in, seen from the node, Ethernet headers included."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int


class Lan:
    """A LAN for as long as the `with` block lasts. Node i is 10.77.<subnet>.<i+1> and `link_local(i)`, on eth0.

    `rate_mbit` shapes both directions of each link: one number for all, or one per node (None: not shaped). The
    namespaces are private, so LANs of several runs do not see each other. Leaving the block, also by SIGINT or
    SIGTERM, ends what `popen` started and removes everything; a killed run's leftovers are removed by the next.
    Raises LabError when it cannot be made.
    """

    def __init__(
        self,
        name: str = "lan",
        nodes: int = 3,
        rate_mbit: float | Sequence[float | None] | None = None,
        *,
        ipv6_only: bool = False,
        mtu: int = 1500,
        subnet: int = 0,
    ) -> None:
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"{name}: {nodes} nodes; a LAN has 1 to {MAX_NODES}")
        rates = list(rate_mbit) if isinstance(rate_mbit, Sequence) else [rate_mbit] * nodes
        if len(rates) != nodes:
            raise LabError(f"{name}: {len(rates)} rates for {nodes} nodes")
        self.nodes: Final = nodes
        self._rates: Final = rates
        self._ipv6_only: Final = ipv6_only
        self._mtu: Final = mtu
        self._subnet: Final = subnet
        self._tag: Final = f"{name}{os.getpid()}x{next(_serial)}"
        self._bridge: Final = f"{leftover.PREFIX}{self._tag}-br"
        self._host_part: Final = list(range(1, nodes + 1))
        self._switch: Final = Switch(self._bridge)
        self._started: list[process.Process] = []
        self._lock: int | None = None
        self._handler: signal.Handlers | None = None

    def __enter__(self) -> Self:
        if reason := available():
            raise LabError(reason)
        leftover.clean()
        self._lock = leftover.hold(self._tag)
        self._catch_term()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what runs in the LAN and remove it; a second call does nothing."""
        if self._lock is None:
            return
        with _undisturbed():
            process.end(self._started)
            self._started.clear()
            for namespace in (*(self.namespace(node) for node in range(self.nodes)), self._bridge):
                leftover.remove(namespace)
            leftover.release(self._tag, self._lock)
            self._lock = None
            if self._handler is not None:
                signal.signal(signal.SIGTERM, self._handler)

    # What a node is called and where it is

    def namespace(self, node: int) -> str:
        return f"{leftover.PREFIX}{self._tag}-{node}"

    def address(self, node: int) -> str:
        """The node's IPv4 address, or its link-local one in a LAN of IPv6 alone."""
        return self.link_local(node) if self._ipv6_only else f"10.77.{self._subnet}.{self._host_part[node]}"

    def link_local(self, node: int) -> str:
        """The node's link-local address with the scope as every node of the LAN writes it: `fe80::…%eth0`."""
        return f"{self._bare_link_local(node)}%eth0"

    # Processes

    def popen(
        self,
        node: int,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        cwd: str | Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> process.Process:
        """Start a process at a node, in text mode; `env` is added to our own. It is ended when the LAN closes."""
        started = process.start(
            [*prefix(self.namespace(node)), *argv],
            env=os.environ | dict(env or {}),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self._started.append(started)
        return started

    def run(
        self, node: int, argv: Sequence[str], env: Mapping[str, str] | None = None, *, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at a node to its end; its output is in the result. Raises subprocess.TimeoutExpired."""
        started = self.popen(node, argv, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = started.communicate(timeout=timeout)
        finally:
            process.end([started])
            self._started.remove(started)
        return subprocess.CompletedProcess(list(argv), started.returncode, out, err)

    # Faults

    def loss(self, permille: int) -> None:
        """Let the switch drop that share of all frames, at random."""
        self._switch.loss_permille = permille
        self._switch.apply()

    def block_multicast(self, *, blocked: bool = True) -> None:
        """Let the switch drop multicast, as many access points do; IPv6 is then dead too (no neighbour discovery)."""
        self._switch.multicast_blocked = blocked
        self._switch.apply()

    def isolate(self, node: int) -> None:
        """Cut a node off without its link going down. `heal` undoes it."""
        self._switch.cut.add(node)
        self._switch.apply()

    def partition(self, *groups: Sequence[int]) -> None:
        """Drop what goes from one group to another. `heal` undoes it."""
        self._switch.groups = tuple(frozenset(group) for group in groups)
        self._switch.apply()

    def heal(self) -> None:
        """Undo `isolate` and `partition`."""
        self._switch.groups = ()
        self._switch.cut.clear()
        self._switch.apply()

    def link_down(self, node: int) -> None:
        """Take a node's interface down, as `ip link set down` or a modem reset does."""
        batch("ip", ["link set eth0 down"], self.namespace(node))

    def link_up(self, node: int) -> None:
        # The kernel drops IPv6 addresses of an interface that goes down.
        again = f"addr replace {self._bare_link_local(node)}/64 dev eth0 nodad"
        batch("ip", ["link set eth0 up", again], self.namespace(node))

    def change_address(self, node: int) -> str:
        """Give a node another address, as a DHCP server may; returns the new one."""
        old, old_local = self.address(node), self._bare_link_local(node)
        self._host_part[node] = (self._host_part[node] + 100) % 200
        lines = [f"addr del {old_local}/64 dev eth0", f"addr add {self._bare_link_local(node)}/64 dev eth0 nodad"]
        if not self._ipv6_only:
            lines += [f"addr del {old}/24 dev eth0", f"addr add {self.address(node)}/24 brd + dev eth0"]
        batch("ip", lines, self.namespace(node))
        return self.address(node)

    def route(self, node: int) -> None:
        """Put a router (with proxy ARP) between a node and the switch, for IPv4; multicast no longer reaches it.

        On one host a packet that waits at a switch still counts as its sender's, which then sends no more; a router
        takes it over, as another machine would. So a TCP flow fills the FIFO before a node only if it is routed.
        """
        ports = (f"p{node}", "br0")
        lines = [f"link set p{node} nomaster", f"addr add 10.77.{self._subnet}.254/24 dev br0", "link set br0 up"]
        batch("ip", [*lines, f"route add {self.address(node)}/32 dev p{node}"], self._bridge)
        for setting in ("ip_forward", *(f"conf/{port}/proxy_arp" for port in ports)):
            run([*prefix(self._bridge), "sh", "-c", f"echo 1 > /proc/sys/net/ipv4/{setting}"])

    def counters(self, node: int) -> Counters:
        """Bytes and packets of a node's interface, as the kernel counts them."""
        [link] = json.loads(run(["ip", "-n", self.namespace(node), "-s", "-j", "link", "show", "eth0"]))
        rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
        return Counters(rx["bytes"], rx["packets"], tx["bytes"], tx["packets"])

    # How it is made

    def _make(self) -> None:
        names = [self.namespace(node) for node in range(self.nodes)]
        batch("ip", [f"netns add {name}" for name in (self._bridge, *names)])
        lines = ["link set lo up", "link add br0 type bridge mcast_snooping 0", "link set br0 up addrgenmode none"]
        for node, name in enumerate(names):
            lines += [
                f"link add p{node} mtu {self._mtu} type veth peer name eth0 mtu {self._mtu} netns {name}",
                f"link set p{node} master br0 addrgenmode none up",
            ]
        batch("ip", lines, self._bridge)
        for node, name in enumerate(names):
            lines = [
                "link set lo up",
                "link set eth0 addrgenmode none up",
                f"addr add {self._bare_link_local(node)}/64 dev eth0 nodad",
            ]
            if not self._ipv6_only:
                lines.append(f"addr add {self.address(node)}/24 brd + dev eth0")
            batch("ip", lines, name)
        self._shape(names)

    def _shape(self, names: list[str]) -> None:
        shaped = [(node, rate) for node, rate in enumerate(self._rates) if rate is not None]
        line = "qdisc add dev {} root tbf rate {:.0f}kbit burst 70kb latency 50ms"
        if shaped:
            batch("tc", [line.format(f"p{node}", rate * 1000) for node, rate in shaped], self._bridge)
        for node, rate in shaped:
            batch("tc", [line.format("eth0", rate * 1000)], names[node])

    def _bare_link_local(self, node: int) -> str:
        return f"fe80::77:{self._subnet:x}:{self._host_part[node]:x}"

    def _catch_term(self) -> None:
        if threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            self._handler = signal.SIG_DFL
            signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off SIGINT and SIGTERM: a second Ctrl-C must not leave half a LAN behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _: late.append(n)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    for caught in late:
        signal.raise_signal(caught)
