"""The systemd unit: what the agent may do is what it needs, and no more."""

import re
from pathlib import Path
from typing import Final

from dfedge.install.place import ACCOUNT, Place

PYTHON: Final = Path("/usr/bin/python3")
_PYTHON: Final = re.compile(r"^ExecStart=(\S+) -I ", re.MULTILINE)

_HEAD: Final = """\
# Written by `dfedge service install`, which replaces it; put changes into {unit}.d/.
[Unit]
Description=dfedge: images from node to node
{network}StartLimitIntervalSec=10min
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStartPre={guard}
ExecStart={python} -I {folder}/current/dfedge.pyz agent
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
UMask=0077
"""
_NETWORK: Final = "Wants=network-online.target\nAfter=network-online.target\n"
_LIMITS: Final = """\
Nice=10
IOSchedulingClass=idle
MemoryHigh=192M
MemoryMax=384M
TasksMax=128
LimitNOFILE=4096
OOMPolicy=stop
"""
# As root systemd sets up what needs privileges; a user's own systemd can do these alone.
_HARDENED: Final = """\
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""
_SYSTEM: Final = f"""\
User={ACCOUNT}
Environment=DFEDGE_STATE_DIR={{state}} DFEDGE_RUNTIME_DIR=/run/dfedge
StateDirectory=dfedge
StateDirectoryMode=0700
RuntimeDirectory=dfedge
RuntimeDirectoryMode=0700
CacheDirectory=dfedge
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
RemoveIPC=yes
"""
_TAIL: Final = """
[Install]
WantedBy={target}
"""


def unit_text(place: Place, python: Path = PYTHON) -> str:
    """The unit for an installation there."""
    folder, state = place.inside(place.folder), place.inside(place.state)
    guard = f"-{'' if place.user else '+'}{python} -I {folder}/guard.py {state}"  # +: as root, outside the walls
    head = _HEAD.format(
        unit=place.inside(place.unit),
        network="" if place.user else _NETWORK,
        guard=guard,
        python=python,
        folder=folder,
    )
    system = "" if place.user else _SYSTEM.format(state=state)
    return head + _LIMITS + system + _HARDENED + _TAIL.format(target=place.target)


def python_of(place: Place) -> Path:
    """Which Python an installed unit runs; the usual one where there is none."""
    try:
        found = _PYTHON.search(place.unit.read_text(encoding="utf-8"))
    except OSError:
        found = None
    return Path(found[1]) if found else PYTHON
