"""The units that run this host's hooks as root, apart from the agent, and what else belongs to them on the host."""

import pkgutil
from functools import partial
from pathlib import Path
from typing import Final

from dfedge.install.file import holds, leads_to, link, write
from dfedge.install.place import ACCOUNT, Place
from dfedge.install.steps import Steps
from dfedge.install.unit import PYTHON

HOOK: Final = "hook.py"

_HEAD: Final = "# Written by `dfedge service install --hooks`, which replaces it; put changes into {unit}.d/.\n"
_SOCKET: Final = f"""\
[Unit]
Description=dfedge: where the agent asks for a hook to be run as root

[Socket]
ListenStream={{socket}}
SocketUser={ACCOUNT}
SocketMode=0600
Accept=yes
MaxConnections=1
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""
# What a hook does to the host is the host's affair, so little is forbidden; but it installs what it is given, and
# fetches nothing more, so it has no network.
_SERVICE: Final = """\
[Unit]
Description=dfedge: a hook, run as root
CollectMode=inactive-or-failed

[Service]
Type=exec
ExecStart={python} -I {folder}/hook.py {hooks}
StandardInput=socket
StandardOutput=journal
StandardError=journal
Environment=DFEDGE_STATE_DIR={state} DFEDGE_RUNTIME_DIR=/run/dfedge
RuntimeMaxSec=10min
PrivateNetwork=yes
PrivateTmp=yes
ProtectHome=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
Nice=10
TasksMax=256
OOMPolicy=stop
"""


def hook_units(place: Place, python: Path = PYTHON) -> dict[Path, str]:
    """The two units, by where they go."""
    socket = _HEAD.format(unit=place.inside(place.hook_socket_unit)) + _SOCKET.format(socket=place.hook_socket)
    service = _HEAD.format(unit=place.inside(place.hook_unit)) + _SERVICE.format(
        python=python,
        folder=place.inside(place.folder),
        hooks=place.inside(place.hooks),
        state=place.inside(place.state),
    )
    return {place.hook_socket_unit: socket, place.hook_unit: service}


def hook_files(place: Place, python: Path) -> dict[Path, str]:
    """All that has to be on the host: the file that runs hooks, and the units, the one that starts the other last."""
    runner = (pkgutil.get_data("dfedge.install", HOOK) or b"").decode()
    units = hook_units(place, python)
    return {
        place.folder / HOOK: runner,
        place.hook_unit: units[place.hook_unit],
        place.hook_socket_unit: units[place.hook_socket_unit],
    }


def runs_hooks(place: Place) -> bool:
    """Whether an operator has chosen that this host runs hooks as root."""
    return leads_to(place.hook_wants, str(place.inside(place.hook_socket_unit)))


def need_hooks(place: Place, python: Path, steps: Steps) -> bool:
    """Put all of that on the host, and let systemd listen from its start; whether anything was missing."""
    target = str(place.inside(place.hook_socket_unit))
    missing = [
        steps.need(not holds(path, text), f"write {path}", partial(write, path, text, 0o644))
        for path, text in hook_files(place, python).items()
    ]
    enabled = leads_to(place.hook_wants, target)
    missing.append(steps.need(not enabled, "enable the unit of hooks", lambda: link(place.hook_wants, target)))
    return any(missing)
