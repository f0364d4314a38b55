"""Taking away what `install` made; the state, which holds the node's key and its images, only where that is asked."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dfedge.install import guard, manual, system
from dfedge.install.file import is_there, leads_to, remove
from dfedge.install.install import check_writable
from dfedge.install.place import ACCOUNT, Place
from dfedge.install.system import System
from dfedge.install.version import FILE, alone


def uninstall(place: Place, host: System, *, purge: bool, dry_run: bool) -> list[str]:
    """Stop the agent and remove it, in an order in which a unit never leads to nothing; returns what was done.

    Raises Refused, Busy, OSError.
    """
    done: list[str] = []

    def need(there: bool, text: str, act: Callable[[], object]) -> None:
        if there:
            done.append(text)
            if not dry_run:
                act()

    if not dry_run:
        check_writable(place)
    need(host.runs and place.unit.is_file(), "stop the agent", host.stop)
    listens = host.runs and place.hook_socket_unit.is_file()
    need(listens, "take no requests for hooks any more", host.stop_listening)
    for path in (place.hook_wants, place.hook_socket_unit, place.hook_unit):
        need(is_there(path), f"remove {path}", partial(remove, path))
    need(is_there(place.wants), f"remove {place.wants}", lambda: remove(place.wants))
    need(is_there(place.unit), f"remove {place.unit}", lambda: remove(place.unit))
    need(host.runs and (bool(done) or host.stale), "have systemd read its units again", host.reload)
    ours = leads_to(place.program, f"../lib/dfedge/{guard.CURRENT}/{FILE}")
    need(ours, f"remove {place.program}", lambda: remove(place.program))
    need(bool(manual.there(place)), "remove the man page and the completions", lambda: manual.clear(place))
    sysusers = place.root / "etc/sysusers.d/dfedge.conf"
    need(not place.is_here and is_there(sysusers), f"remove {sysusers}", lambda: remove(sysusers))
    need(place.folder.is_dir(), f"remove {place.folder}", lambda: _remove_versions(place.folder))
    if purge:
        for folder in (place.state, place.cache):
            need(folder.is_dir(), f"remove {folder}", partial(shutil.rmtree, folder))
        account = place.is_here and not place.user and system.has_account()
        need(account, f"remove the system user {ACCOUNT}", system.remove_account)
    return done


def _remove_versions(folder: Path) -> None:
    with alone(folder):
        shutil.rmtree(folder)
