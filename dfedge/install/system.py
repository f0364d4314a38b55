"""What we ask of systemd, and of the host's list of users."""

import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final, Protocol

from dfedge.core.errors import Refused
from dfedge.install.place import ACCOUNT, HOOK_SOCKET, UNIT, Place

RUNS: Final = Path("/run/systemd/system")  # sd_booted(3)
LIMIT_S: Final = 120.0


class System(Protocol):
    """The host, as far as it starts and stops the agent."""

    @property
    def runs(self) -> bool:
        """Whether systemd is in charge here."""
        ...

    def reload(self) -> None:
        """Have the units read again."""
        ...

    def restart(self) -> None:
        """Start the agent, or anew; does not wait until it is ready. Raises Refused."""
        ...

    def stop(self) -> None:
        """End the agent, and wait for it. Raises Refused."""
        ...

    @property
    def stale(self) -> bool:
        """Whether systemd goes by units that lie here in another form by now."""
        ...

    @property
    def listens(self) -> bool:
        """Whether requests for hooks are taken."""
        ...

    def listen(self) -> None:
        """Take requests for hooks from now on. Raises Refused."""
        ...

    def stop_listening(self) -> None:
        """Take none any more; a hook that runs goes on. Raises Refused."""
        ...

    @property
    def state(self) -> str:
        """`active`, `activating`, `inactive`, `failed`, …; `unknown` where nobody can say."""
        ...


class Systemd:
    """The real one: of the system, or of a user. Not for the folder of an image, where nothing runs."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def runs(self) -> bool:
        there = (
            self._place.runtime.parent / "systemd/private" if self._place.user else RUNS
        )  # a user's own comes with PAM
        return self._place.is_here and there.exists() and shutil.which("systemctl") is not None

    def reload(self) -> None:
        self._ask("daemon-reload")

    def restart(self) -> None:
        self._ask("reset-failed", UNIT, must=False)
        self._ask("restart", "--no-block", UNIT)

    def stop(self) -> None:
        self._ask("stop", UNIT)

    @property
    def stale(self) -> bool:
        shown = self._ask("show", "--property=NeedDaemonReload", "--value", UNIT, HOOK_SOCKET, must=False)
        return "yes" in shown.split()

    @property
    def listens(self) -> bool:
        return self._ask("is-active", HOOK_SOCKET, must=False) == "active"

    def listen(self) -> None:
        self._ask("restart", HOOK_SOCKET)

    def stop_listening(self) -> None:
        self._ask("stop", HOOK_SOCKET)

    @property
    def state(self) -> str:
        return (self._ask("is-active", UNIT, must=False) or "unknown") if self.runs else "unknown"

    def _ask(self, *words: str, must: bool = True) -> str:
        command = ["systemctl", *(["--user"] if self._place.user else []), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Refused(f"{' '.join(command)}: no answer in {LIMIT_S:.0f} s", "systemctl status") from None
        if must and done.returncode != 0:
            raise Refused(f"{' '.join(command)}: {done.stderr.strip()[-300:] or f'exit code {done.returncode}'}")
        return done.stdout.strip()


def has_account() -> bool:
    """Whether there is the user that the agent runs as."""
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def make_account(state: Path) -> None:
    """Make that user: no shell, no password, no home. Raises Refused."""
    _run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(state),
         "--shell", "/usr/sbin/nologin", ACCOUNT)  # fmt: skip


def remove_account() -> None:
    """Remove that user. Raises Refused."""
    _run("userdel", ACCOUNT)


def _run(*command: str) -> None:
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise Refused(
            f"{command[0]}: not on this host; make the system user {ACCOUNT} by hand", f"adduser -S {ACCOUNT}"
        )
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise Refused(f"{command[0]}: {done.stderr.strip()[-300:] or f'exit code {done.returncode}'}")
