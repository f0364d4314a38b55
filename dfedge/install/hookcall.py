"""Asking the unit that is root to run a hook. Whoever asks needs no privileges but to be the agent's user."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dfedge.core.errors import Busy, NotFound, Refused

CONNECT_S: Final = 10.0
LOG: Final = "journalctl -u 'dfedge-hook@*'"


def run_hook(path: Path, hook: str, image: str, name: str, version: str, on_start: Callable[[], None]) -> None:
    """Have the hook run for this image, and wait until it has ended well; its unit limits how long that takes.

    Raises NotFound where this host runs no hooks as root, Busy while another runs, Refused where it failed or may not.
    """
    subject = f"hook {hook} for {name}:{version}"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_S)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotFound(f"{path}: this host runs no hooks as root", "sudo dfedge service install --hooks") from None
        except PermissionError:
            raise Refused(f"{path}: only root and the agent's user may ask for a hook") from None
        try:
            connection.sendall(f"{hook} {image} {name} {version}\n".encode())
            connection.settimeout(None)
            with connection.makefile(encoding="utf-8", errors="replace") as answers:
                _follow(subject, answers.readline().rstrip("\n"), on_start)
                _judge(subject, answers.readline().rstrip("\n"))
        except (BrokenPipeError, ConnectionResetError):
            raise _not_run(subject) from None


def _follow(subject: str, said: str, on_start: Callable[[], None]) -> None:
    if not said:
        raise _not_run(subject)
    if said != "runs":
        raise Refused(f"{subject}: not run: {said.removeprefix('no ')}")
    on_start()


def _not_run(subject: str) -> Busy:
    return Busy(f"{subject}: not run; another hook runs, or the unit could not start", LOG)


def _judge(subject: str, said: str) -> None:
    if not said:
        raise Refused(f"{subject}: was stopped before it ended; it may have run over the time of its unit", LOG)
    code = said.removeprefix("ended ")
    if code != "0":
        how = f"by signal {code[1:]}" if code.startswith("-") else f"with exit code {code}"
        raise Refused(f"{subject}: ended {how}", LOG)
