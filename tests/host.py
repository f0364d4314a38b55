"""A host that installs dfedge in a folder, with a systemd that starts nothing but remembers."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from dfedge.install import guard
from dfedge.install.place import Place
from dfedge.install.trial import Health
from dfedge.install.version import linked


@dataclass
class FakeSystem:
    """Starts what the link leads to, as systemd would, the guard first; `sick` are versions that never get well."""

    place: Place
    sick: set[str] = field(default_factory=set)
    state: str = "inactive"
    running: str = ""
    said: list[str] = field(default_factory=list)
    runs: bool = True

    @property
    def _told(self) -> dict[str, str]:
        """What systemd has read, and whether it listens; in a file, as it lives on when a command is killed."""
        return dict(json.loads(self._memory.read_text())) if self._memory.exists() else {}

    def _tell(self, **facts: str) -> None:
        self._memory.write_text(json.dumps(facts))

    @property
    def _memory(self) -> Path:
        return self.place.root.with_name("systemd.json")

    def _units(self) -> dict[str, str]:
        paths = (self.place.unit, self.place.hook_socket_unit)
        return {path.name: path.read_text() for path in paths if path.exists()}

    def reload(self) -> None:
        self.said.append("reload")
        listens = {"listens": "yes"} if self.listens else {}
        self._tell(**self._units(), **listens)

    @property
    def stale(self) -> bool:
        told, units = self._told, self._units()
        return any(told[name] != units.get(name) for name in told if name != "listens")

    @property
    def listens(self) -> bool:
        return "listens" in self._told

    def restart(self) -> None:
        guard.main(self.place.folder, self.place.state)
        current = linked(self.place.folder, guard.CURRENT)
        assert current is not None
        self.running = current.number
        self.state = "activating" if current.number in self.sick else "active"
        self.said.append(f"restart {current.number}")

    def stop(self) -> None:
        self.state = "inactive"
        self.said.append("stop")

    def listen(self) -> None:
        assert self.place.hook_socket_unit.name in self._told, "systemd has not read the unit"
        self.said.append("listen")
        self._tell(**{**self._told, "listens": "yes"})

    def stop_listening(self) -> None:
        self.said.append("stop listening")
        self._tell(**{name: text for name, text in self._told.items() if name != "listens"})

    def probe(self) -> Health:
        if self.state != "active":
            return Health(False, "no agent answers")
        return Health(True, f"answers, version {self.running}", 0.01)


def names(place: Place) -> list[str]:
    """The versions that are kept, by their numbers."""
    found = [path for path in place.folder.iterdir() if len(path.name) == 16 and not path.is_symlink()]
    return sorted(zipfile.ZipFile(path / "dfedge.pyz").read("build").decode().split()[1] for path in found)
