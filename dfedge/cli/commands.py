"""The commands, each with the module it lives in, which is loaded only when it is used."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dfedge.cli.output import Output


class Command(Protocol):
    """What a command's module holds."""

    @property
    def EXAMPLE(self) -> str:  # noqa: N802
        """A command line that works."""
        ...

    def arguments(self, parser: ArgumentParser) -> None:
        """Say what the command takes."""
        ...

    def run(self, args: Namespace, out: Output) -> int:
        """Do it, and return the exit code."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A command in the list: what it does in a line, and how to load it."""

    summary: str
    load: Callable[[], Command]


def _fleet() -> Command:
    from dfedge.cli import fleet

    return fleet


def _join() -> Command:
    from dfedge.cli import join

    return join


def _agent() -> Command:
    from dfedge.cli import agent

    return agent


def _publish() -> Command:
    from dfedge.cli import publish

    return publish


def _get() -> Command:
    from dfedge.cli import get

    return get


def _export() -> Command:
    from dfedge.cli import export

    return export


def _import() -> Command:
    from dfedge.cli import import_

    return import_


def _ls() -> Command:
    from dfedge.cli import ls

    return ls


def _rm() -> Command:
    from dfedge.cli import rm

    return rm


def _pin() -> Command:
    from dfedge.cli import pin

    return pin


def _unpin() -> Command:
    from dfedge.cli import unpin

    return unpin


def _gc() -> Command:
    from dfedge.cli import gc

    return gc


def _verify() -> Command:
    from dfedge.cli import verify

    return verify


def _peers() -> Command:
    from dfedge.cli import peers

    return peers


def _status() -> Command:
    from dfedge.cli import status

    return status


def _where() -> Command:
    from dfedge.cli import where

    return where


def _why() -> Command:
    from dfedge.cli import why

    return why


def _top() -> Command:
    from dfedge.cli import top

    return top


def _throttle() -> Command:
    from dfedge.cli import throttle

    return throttle


def _config() -> Command:
    from dfedge.cli import config

    return config


def _doctor() -> Command:
    from dfedge.cli import doctor

    return doctor


def _selftest() -> Command:
    from dfedge.cli import selftest

    return selftest


def _service() -> Command:
    from dfedge.cli import service

    return service


COMMANDS: Final[Mapping[str, Entry]] = {
    "fleet": Entry("make a fleet, issue, deploy, renew and revoke its nodes", _fleet),
    "join": Entry("put an enrolment into this node", _join),
    "agent": Entry("run this node in the foreground", _agent),
    "publish": Entry("cut, sign and seed an image", _publish),
    "get": Entry("fetch an image from the neighbours", _get),
    "export": Entry("write images into a bundle, for a stick", _export),
    "import": Entry("take in a bundle, or serve it in place", _import),
    "ls": Entry("list the images held here", _ls),
    "rm": Entry("remove an image from this node", _rm),
    "pin": Entry("keep an image whatever happens", _pin),
    "unpin": Entry("let an image be evicted again", _unpin),
    "gc": Entry("free what nothing needs", _gc),
    "verify": Entry("prove again what is stored", _verify),
    "peers": Entry("list the neighbours", _peers),
    "status": Entry("say how this node is", _status),
    "where": Entry("list who holds which share of an image", _where),
    "why": Entry("say what limits a transfer", _why),
    "top": Entry("watch transfers, peers, budget and host", _top),
    "throttle": Entry("show, pause or resume what may be moved", _throttle),
    "config": Entry("show or check the settings", _config),
    "doctor": Entry("find what is wrong with this node", _doctor),
    "service": Entry("install, update or remove the agent as a service", _service),
    "selftest": Entry("find whether dfedge works on this machine", _selftest),
}
