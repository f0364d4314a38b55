"""Installing dfedge on a host, or what is missing of it. Killed anywhere, what ran before runs on."""

import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dfedge.core.errors import NotFound, Refused
from dfedge.install import guard, manual, system
from dfedge.install.file import holds, leads_to, link, write
from dfedge.install.hookunit import need_hooks, runs_hooks
from dfedge.install.place import ACCOUNT, Place
from dfedge.install.proof import prove
from dfedge.install.steps import Done, Steps
from dfedge.install.trial import Judge, forget_others, settle, switch
from dfedge.install.unit import unit_text
from dfedge.install.version import FILE, Version, alone, digest_of, linked, number_of, put

GUARD: Final = "guard.py"
_SYSUSERS: Final = 'u dfedge - "dfedge agent" /var/lib/dfedge\n'
Prove = Callable[[Place, Version, Path], None]


def install(
    place: Place,
    source: Path,
    python: Path,
    judge: Judge,
    *,
    start: bool = True,
    hooks: bool = False,
    dry_run: bool = False,
    expected: str = "",
    proof: Prove = prove,
) -> Done:
    """Put `source` there as the version that runs, with unit, user and links; `start` the agent where systemd runs.

    With `hooks`, or where they were chosen before, also what runs the host's hooks as root.
    Raises Refused or TimedOut where it does not work here, Busy, Corrupt, OSError.
    """
    if dry_run:
        return _install(place, source, python, judge, start, hooks, dry_run=True, expected=expected, proof=proof)
    check_writable(place)
    with alone(place.folder):
        settled = settle(place, judge)
        done = _install(place, source, python, judge, start, hooks, dry_run=False, expected=expected, proof=proof)
        done.notes[:0] = [settled] if settled else []
        return done


def update(place: Place, source: Path, judge: Judge, *, expected: str = "", python: Path, proof: Prove = prove) -> Done:
    """Put `source` in the place of the version that runs, on trial.

    Raises NotFound where nothing is installed, and what `install` raises.
    """
    if linked(place.folder, guard.CURRENT) is None or not place.unit.is_file():
        raise NotFound(f"{place.folder}: dfedge is not installed as a service", "dfedge service install")
    check_writable(place)
    with alone(place.folder):
        settled = settle(place, judge)
        old = linked(place.folder, guard.CURRENT)
        new = put(place.folder, source, expected)
        done = Done(new, old, notes=[settled] if settled else [])
        if old is not None and old.id == new.id:
            done.previous = linked(place.folder, guard.PREVIOUS)
            return done
        _try(place, new, python, proof)
        done.judged = done.started = switch(place, new, judge)
        done.steps.append(f"lead {place.folder / guard.CURRENT} to {new.label}")
        _need_manual(place, new.file, Steps(done, dry_run=False))
        if not done.judged:
            done.notes.append("no agent runs, so nothing judged it beyond its selftest")
        return done


def _install(
    place: Place,
    source: Path,
    python: Path,
    judge: Judge,
    start: bool,
    hooks: bool,
    *,
    dry_run: bool,
    expected: str,
    proof: Prove,
) -> Done:
    folder, old = place.folder, linked(place.folder, guard.CURRENT)
    digest = digest_of(source)
    new = Version(digest[:16], folder / digest[:16] / FILE, number_of(source))
    done = Done(new, old)
    steps = Steps(done, dry_run=dry_run)
    _need_account(place, steps)
    here = new.file.is_file() and digest_of(new.file) == digest  # a rotten one is put there anew
    missing = old is None or old.id != new.id or not here
    steps.need(missing, f"put {new.label} into {new.file.parent}, and try its selftest",
               lambda: _try(place, put(folder, source, expected or digest), python, proof))  # fmt: skip
    if old is None:
        steps.need(True, f"lead {folder / guard.CURRENT} to it", lambda: switch(place, new, judge))
    guard_text = (pkgutil.get_data("dfedge.install", GUARD) or b"").decode()
    steps.need(not holds(folder / GUARD, guard_text), f"write {folder / GUARD}",
               lambda: write(folder / GUARD, guard_text, 0o644))  # fmt: skip
    unit = unit_text(place, python)
    changed = steps.need(not holds(place.unit, unit), f"write {place.unit}", lambda: write(place.unit, unit, 0o644))
    steps.need(not leads_to(place.wants, str(place.inside(place.unit))), "enable the unit",
               lambda: link(place.wants, str(place.inside(place.unit))))  # fmt: skip
    _need_program(place, steps, done)
    hooked = hooks or runs_hooks(place)
    listens = hooked and need_hooks(place, python, steps)
    if judge.system.runs:  # who wrote the units may have been killed before he said so
        listens |= hooked and start and not judge.system.listens
        changed |= judge.system.stale
        steps.need(changed or listens, "have systemd read its units again", judge.system.reload)
    if old is not None and old.id != new.id:
        steps.need(True, f"change from {old.label} to {new.label}", lambda: _switch(place, new, judge, done))
    _need_manual(place, source, steps)
    steps.need(listens and start and judge.system.runs, "take requests for hooks", judge.system.listen)
    _need_start(place, judge, steps, done, start=start, changed=changed and not done.judged)
    return done


def _try(place: Place, version: Version, python: Path, proof: Prove) -> None:
    """What fails does not stay."""
    try:
        proof(place, version, python)
    except BaseException:
        forget_others(place)
        raise


def _switch(place: Place, new: Version, judge: Judge, done: Done) -> None:
    done.judged = done.started = switch(place, new, judge)


def _need_account(place: Place, steps: Steps) -> None:
    if place.user:
        return
    if place.is_here:
        steps.need(not system.has_account(), f"make the system user {ACCOUNT}",
                   lambda: system.make_account(place.inside(place.state)))  # fmt: skip
        return
    path = place.root / "etc/sysusers.d/dfedge.conf"  # systemd makes the user when the image is started
    steps.need(not holds(path, _SYSUSERS), f"write {path}", lambda: write(path, _SYSUSERS, 0o644))


def _need_program(place: Place, steps: Steps, done: Done) -> None:
    target = f"../lib/dfedge/{guard.CURRENT}/{FILE}"
    if os.path.lexists(place.program) and not leads_to(place.program, target):
        done.notes.append(f"{place.program} is there already and stays; it is not the one that was installed")
        return
    steps.need(not leads_to(place.program, target), f"make the command {place.program}",
               lambda: link(place.program, target))  # fmt: skip


def _need_manual(place: Place, pyz: Path, steps: Steps) -> None:
    lacking = manual.lacking(place, pyz)
    steps.need(bool(lacking), "write the man page and the completions", lambda: manual.put(lacking))


def _need_start(place: Place, judge: Judge, steps: Steps, done: Done, *, start: bool, changed: bool) -> None:
    by_hand = f"systemctl {'--user ' if place.user else ''}start dfedge"
    if not place.is_here:
        return
    if not judge.system.runs:
        own = "this user's systemd" if place.user else "systemd"
        done.notes.append(f"{own} does not run here, so nothing was started; to start by hand: dfedge agent")
    elif not place.joined:
        done.notes.append(f"not started, as this host is no node yet: dfedge join DIR, then {by_hand}")
    elif not start:
        done.notes.append(f"not started; to start: {by_hand}")
    else:
        active = judge.system.state in ("active", "activating", "reloading")
        verb = "restart" if active else "start"
        done.started |= steps.need(not active or changed, f"{verb} the agent", judge.system.restart)


def check_writable(place: Place) -> None:
    """Raises Refused before anything is done, where it can't be done."""
    for path in (place.prefix, place.units):
        above = next(folder for folder in (path, *path.parents) if folder.exists())
        if not os.access(above, os.W_OK):
            raise Refused(f"{above}: we may not write there", "sudo dfedge service install")
