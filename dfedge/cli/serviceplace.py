"""Where a service command works, which file it installs, and how it knows whether the agent is healthy."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final
from zipimport import zipimporter

from dfedge.cli.field import number, word
from dfedge.core.errors import DfedgeError, UsageError
from dfedge.install.place import Place
from dfedge.install.system import Systemd
from dfedge.install.trial import Health, Judge
from dfedge.node.client import Client

ANSWER_S: Final = 5.0


def place_of(args: Namespace) -> Place:
    """What --user and --root choose. Raises UsageError."""
    root: Path | None = getattr(args, "root", None)
    if args.user:
        if root is not None:
            raise UsageError("service: --user has no place in an image; give --root alone", "dfedge service --help")
        return Place.of_user(Path.home(), os.environ)
    if root is None:
        return Place.of_system()
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; give the one that will be / in the image", "dfedge service --help")
    return Place.of_system(root.resolve())


def own_file() -> Path:
    """The dfedge.pyz that runs. Raises UsageError where dfedge runs from elsewhere."""
    loader = getattr(sys.modules["__main__"], "__loader__", None)
    if not isinstance(loader, zipimporter):
        raise UsageError(
            "service install: this dfedge does not run from a dfedge.pyz; name one with --from FILE",
            "dfedge service install --from dfedge.pyz",
        )
    return Path(loader.archive).resolve()


def judge_of(place: Place) -> Judge:
    """systemd, and the agent that it runs."""
    return Judge(Systemd(place), lambda: probe(place.runtime))


def probe(runtime: Path) -> Health:
    """Ask the agent; waits a few seconds at most."""
    try:
        with Client.connect(runtime, ANSWER_S) as agent:
            answer = agent.call("status", {})
    except TimeoutError:
        return Health(False, f"the agent at {runtime} does not answer within {ANSWER_S:.0f} s")
    except (DfedgeError, OSError) as error:
        return Health(False, str(error))
    up = number(answer, "uptime")
    if answer.get("degraded"):
        return Health(False, f"the agent is degraded: {answer['degraded']}", up)
    return Health(True, f"answers, version {word(answer, 'version', '?')}", up)
