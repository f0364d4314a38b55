"""Where things lie on a host: of the system, of one user, or in the folder of an image that is being built."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACCOUNT: Final = "dfedge"
UNIT: Final = "dfedge.service"
HOOK_SOCKET: Final = "dfedge-hook.socket"
HOOKS: Final = ("install", "health", "rollback")  # those of a host, by their names
HOOK_UNIT: Final = "dfedge-hook@.service"


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of one installation. `root` is in front of all of them, and is left out in what is written there."""

    root: Path
    prefix: Path
    units: Path
    target: str  # what starts the unit
    state: Path
    cache: Path
    runtime: Path
    user: bool

    @classmethod
    def of_system(cls, root: Path = Path("/")) -> "Place":
        """For all users."""
        return cls(
            root,
            root / "usr/local",
            root / "etc/systemd/system",
            "multi-user.target",
            root / "var/lib/dfedge",
            root / "var/cache/dfedge",
            root / "run/dfedge",
            user=False,
        )

    @classmethod
    def of_user(cls, home: Path, environ: Mapping[str, str]) -> "Place":
        """For one user alone; the folders are those that the user's commands use anyway."""

        def folder(variable: str, below: str) -> Path:
            value = environ.get(variable, "")
            return Path(value) if value.startswith("/") else home / below

        state = folder("XDG_STATE_HOME", ".local/state") / "dfedge"
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        return cls(
            Path("/"),
            home / ".local",
            folder("XDG_CONFIG_HOME", ".config") / "systemd/user",
            "default.target",
            state,
            folder("XDG_CACHE_HOME", ".cache") / "dfedge",
            Path(runtime) / "dfedge" if runtime else state / "run",
            user=True,
        )

    @property
    def is_here(self) -> bool:
        """Whether this is the running system, not the folder of an image."""
        return self.root == Path("/")

    @property
    def folder(self) -> Path:
        """The versions and the links to them."""
        return self.prefix / "lib/dfedge"

    @property
    def program(self) -> Path:
        """The command, for people."""
        return self.prefix / "bin/dfedge"

    @property
    def unit(self) -> Path:
        """What systemd reads."""
        return self.units / UNIT

    @property
    def wants(self) -> Path:
        """The link that makes the unit start with the system, as `systemctl enable` makes it."""
        return self.units / f"{self.target}.wants" / UNIT

    @property
    def hooks(self) -> Path:
        """The host's hooks, which are root's."""
        return self.root / "etc/dfedge/hooks"

    @property
    def hook_socket(self) -> Path:
        """Where the agent asks for one. Not among its own files: there it could be put in the way."""
        return Path("/run/dfedge-hook.sock")

    @property
    def hook_socket_unit(self) -> Path:
        """The unit that listens there."""
        return self.units / HOOK_SOCKET

    @property
    def hook_unit(self) -> Path:
        """The unit of each hook that runs."""
        return self.units / HOOK_UNIT

    @property
    def hook_wants(self) -> Path:
        """The link that makes systemd listen from its start."""
        return self.units / "sockets.target.wants" / HOOK_SOCKET

    @property
    def joined(self) -> bool:
        """Whether this host has been made a node."""
        return (self.state / "node").is_dir()

    def inside(self, path: Path) -> Path:
        """A path as the installed system will see it."""
        return Path("/") / path.relative_to(self.root)
