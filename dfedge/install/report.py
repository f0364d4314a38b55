"""What is installed, which version runs, and whether the agent answers."""

from dataclasses import dataclass

from dfedge.install import guard
from dfedge.install.hookunit import runs_hooks
from dfedge.install.place import Place
from dfedge.install.trial import Health, Judge
from dfedge.install.version import Version, linked


@dataclass(frozen=True, slots=True)
class Report:
    """An installation as it is."""

    installed: Version | None
    previous: Version | None
    trial: str  # the id of the version on trial; empty without one
    unit: bool
    enabled: bool
    hooks: bool  # whether hooks are run as root
    state: str
    health: Health


def report(place: Place, judge: Judge) -> Report:
    """Look; changes nothing."""
    current, previous = (linked(place.folder, link) for link in (guard.CURRENT, guard.PREVIOUS))
    trial = guard.read_trial(place.folder)
    return Report(
        current,
        None if current is None or previous is None or previous.id == current.id else previous,
        trial[0] if trial else "",
        place.unit.is_file(),
        place.wants.is_symlink(),
        runs_hooks(place),
        judge.system.state,
        judge.probe(),
    )
