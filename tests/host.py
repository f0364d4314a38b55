"""A host that installs dfedge in a folder, with a systemd that starts nothing but remembers."""

import zipfile
from dataclasses import dataclass, field

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

    def reload(self) -> None:
        self.said.append("reload")

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
        self.said.append("listen")

    def stop_listening(self) -> None:
        self.said.append("stop listening")

    def probe(self) -> Health:
        if self.state != "active":
            return Health(False, "no agent answers")
        return Health(True, f"answers, version {self.running}", 0.01)


def names(place: Place) -> list[str]:
    """The versions that are kept, by their numbers."""
    found = [path for path in place.folder.iterdir() if len(path.name) == 16 and not path.is_symlink()]
    return sorted(zipfile.ZipFile(path / "dfedge.pyz").read("build").decode().split()[1] for path in found)
