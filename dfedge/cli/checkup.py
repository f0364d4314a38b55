"""The checks behind `dfedge doctor`. They look, and change nothing."""

import errno
import os
import shutil
import socket
import stat
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from dfedge.cli.reach import config_of, running_agent
from dfedge.core.errors import AgentDown, DfedgeError
from dfedge.core.units import duration, size
from dfedge.node.config import Config
from dfedge.node.sense import doubts

DAY: Final = 86_400
SOON: Final = 30 * DAY  # seconds before the certificates end at which to speak up
MDNS_PORT: Final = 5353
_UP, _LOOPBACK, _MULTICAST = 0x1, 0x8, 0x1000  # IFF_*, netdevice(7)


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    level: Level
    about: str
    text: str
    fix: str = ""


def examine(args: Namespace) -> list[Finding]:
    """Run every check; without settings that can be read, only that one."""
    try:
        config = config_of(args)
    except DfedgeError as error:
        return [Finding(Level.FAIL, "settings", str(error), error.hint)]
    found = [Finding(Level.OK, "settings", f"{config.config_file if config.config_file.exists() else 'defaults'}")]
    runs, agent = _agent(config)
    found += [*_state(config), *_identity(config), agent, _port(config, runs), *_interfaces(config), *_mdns(config)]
    return found


def _state(config: Config) -> Iterator[Finding]:
    state = config.state_dir
    try:
        status = state.lstat()
    except FileNotFoundError:
        yield Finding(Level.FAIL, "state", f"{state} does not exist", "dfedge join DIR")
        return
    except OSError as error:
        yield Finding(Level.FAIL, "state", f"{state}: {(error.strerror or '').lower()}", "run it as the agent's user")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding(Level.FAIL, "state", f"{state} is a link or a file, not a folder", f"mv {state} {state}.old")
    elif status.st_uid != os.geteuid() and os.geteuid() != 0:
        yield Finding(Level.FAIL, "state", f"{state} belongs to user {status.st_uid}, we are {os.geteuid()}")
    elif status.st_mode & 0o022:
        fix = f"chmod 700 {state}"
        yield Finding(Level.FAIL, "state", f"{state} has mode {stat.S_IMODE(status.st_mode):o}: others may write", fix)
    else:
        yield Finding(Level.OK, "state", str(state))
    disk = shutil.disk_usage(state)
    keep = config.store.keep_free
    if disk.free <= keep:
        text = f"{size(disk.free)} is free, {size(keep)} is kept free: nothing can be fetched"
        yield Finding(Level.FAIL, "space", text, "dfedge gc")
    else:
        yield Finding(Level.OK, "space", f"{size(disk.free - keep)} for images, of {size(disk.total)}")
    for doubt in doubts(config):
        yield Finding(Level.WARN, "space", doubt, "dfedge config show")


def _identity(config: Config) -> Iterator[Finding]:
    """Joined, until when, and what time it is for that. Reads, and does not raise a floor."""
    from dfedge.trust.clock import BUILT, FLOOR
    from dfedge.trust.credentials import NODE_KEY, RECORD, check_credentials, read_files
    from dfedge.trust.floor import Floors
    from dfedge.trust.install import NODE, TRUST

    state, node, trust = config.state_dir, config.state_dir / NODE, config.state_dir / TRUST
    if not (node / RECORD).exists():
        yield Finding(Level.FAIL, "fleet", f"{state}: this node has not joined a fleet", "dfedge join DIR")
        return
    wall = time.clock_gettime(time.CLOCK_REALTIME)
    floors = Floors.load(trust)
    floor = max(BUILT, floors.get(FLOOR)[1])
    now = max(wall, float(floor))
    try:
        held = check_credentials(read_files(node, trust), node / NODE_KEY, state, now)
    except DfedgeError as error:
        yield Finding(Level.FAIL, "fleet", str(error), error.hint)
    else:
        record, left = held.record, held.ends - now
        renew = f"dfedge fleet enroll {record.name} --key node_key.pub --out DIR   (at the operator)"
        yield Finding(Level.OK, "fleet", f"{record.name} of {held.root.name or record.fleet}, node {record.id}")
        if held.node in held.revocation.nodes:
            yield Finding(Level.FAIL, "certificate", "this node is revoked", "ask the fleet's operator")
        elif left < SOON:
            yield Finding(Level.WARN, "certificate", f"ends in {duration(max(left, 0))}", renew)
        else:
            yield Finding(Level.OK, "certificate", f"ends in {int(left // DAY)} d")
    if wall < floor:
        text = f"is {duration(floor - wall)} behind the newest signature this node has seen"
        yield Finding(Level.WARN, "clock", text, "timedatectl set-ntp true")
    else:
        yield Finding(Level.OK, "clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall)))
    if floors.broken:
        yield Finding(Level.WARN, "clock", f"{trust}: both floors files are broken", "dfedge join DIR")


def _agent(config: Config) -> tuple[bool, Finding]:
    try:
        with running_agent(config) as agent:
            agent.call("status", {})
    except AgentDown as error:
        return False, Finding(Level.WARN, "agent", str(error), error.hint)
    except DfedgeError as error:
        return False, Finding(Level.FAIL, "agent", str(error), error.hint)
    return True, Finding(Level.OK, "agent", f"answers at {config.runtime_dir}")


def _port(config: Config, runs: bool) -> Finding:
    host, port = config.node.listen
    family = socket.AF_INET6 if ":" in host or (not host and socket.has_dualstack_ipv6()) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4])
            sock.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and runs:
            return Finding(Level.OK, "port", f"{port} is held by the agent")
        text = f"{host or '*'}:{port}: {(error.strerror or str(error)).lower()}"
        return Finding(Level.FAIL, "port", text, "set node.listen to another port, or: ss -ltnp")
    if runs:
        text = f"nobody listens on {port}, though the agent runs; was node.listen changed?"
        return Finding(Level.WARN, "port", text, "systemctl restart dfedge")
    return Finding(Level.OK, "port", f"{port} is free")


def _interfaces(config: Config) -> Iterator[Finding]:
    found = {}
    for _, name in socket.if_nameindex():
        try:
            found[name] = int(Path(f"/sys/class/net/{name}/flags").read_text(), 16)
        except (OSError, ValueError):
            continue
    for name in config.discovery.interfaces:
        if name not in found:
            yield Finding(
                Level.FAIL,
                "interfaces",
                f"{name} does not exist; there are {', '.join(found)}",
                "dfedge config show",
            )
    chosen = {n: f for n, f in found.items() if not config.discovery.interfaces or n in config.discovery.interfaces}
    usable = [name for name, flags in chosen.items() if flags & _UP and flags & _MULTICAST and not flags & _LOOPBACK]
    if usable or not config.discovery.mdns:
        yield Finding(Level.OK, "interfaces", ", ".join(usable) or "multicast is not used")
    else:
        fix = "ip link set IFACE up multicast on, or list discovery.peers"
        yield Finding(Level.WARN, "interfaces", "none is up and does multicast: peers can't be found by mDNS", fix)


def _mdns(config: Config) -> Iterator[Finding]:
    if not config.discovery.mdns:
        how = f"{len(config.discovery.peers)} peers are listed" if config.discovery.peers else "and no peers are listed"
        level = Level.OK if config.discovery.peers else Level.WARN
        yield Finding(level, "mdns", f"off; {how}", "" if config.discovery.peers else "set discovery.peers")
        return
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("", MDNS_PORT))
    except OSError as error:
        text = f"UDP {MDNS_PORT}: {(error.strerror or str(error)).lower()}: another responder keeps it to itself"
        yield Finding(Level.WARN, "mdns", text, f"ss -lunp 'sport = :{MDNS_PORT}', or set discovery.peers")
    else:
        yield Finding(Level.OK, "mdns", f"UDP {MDNS_PORT} can be shared")
