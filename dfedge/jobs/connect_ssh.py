"""The way to a host that a deployment takes, unless a test gives it another: plain SSH."""

from contextlib import AbstractAsyncContextManager

from dfedge.jobs.destination import Destination
from dfedge.jobs.probe import Shell
from dfedge.transfer.shell import Way, open_shell


def connect(to: Destination) -> AbstractAsyncContextManager[Shell]:
    """Log in with the operator's own keys."""
    return open_shell(Way(to.host, to.user, to.port, str(to), to.ssh, to.keyscan))
