"""The last steps of a deployment: the service, its agent's health, and whether the operator's agent meets it."""

from collections.abc import Callable, Mapping
from typing import Final

import anyio

from dfedge.core.errors import Refused, TimedOut
from dfedge.jobs.board import Board
from dfedge.jobs.deployment import Seen
from dfedge.jobs.destination import Destination
from dfedge.trust.certificate import DAY
from dfedge.trust.clock import wall_time

HEALTH_TIMEOUT: Final = 60.0  # seconds; a board starts, unpacks, reads its index
SEEN_TIMEOUT: Final = 20.0  # seconds; mDNS tells within 5, a strange address is dialled within 10
POLL: Final = 1.0  # seconds

Say = Callable[[str, str, str], None]  # step, did, text
Status = Mapping[str, object] | None


class BringUp:
    """The agent of `node` on one host; `ends` is when its certificates end.

    `wanted` is the SHA-256 of the file that its service is to run. Empty, as for a renewal: the one that it runs, for
    `service update` may have changed it since.
    """

    def __init__(self, board: Board, to: Destination, node: str, wanted: str, ends: int, say: Say) -> None:
        self._board = board
        self._to = to
        self._node = node
        self._wanted = wanted
        self._ends = ends
        self._say = say

    async def missing(self) -> bool:
        """Whether the service can be installed and is not what it should be."""
        if not await self._board.has_service():
            return False
        status = await self._board.status()
        return not self._is_right(await self._board.installed()) or await self._is_wrong(status)

    async def run(self, *, joined: bool) -> str:
        """Install the service if it is missing or not as it should be, and wait until its agent is healthy.

        Where the node has `joined` just now, an agent that ran before is started anew to read its certificates.

        Returns what the operator must still do, which may be to start it by hand. Raises TimedOut or Refused.
        """
        status = await self._board.status()
        if await self._board.has_service():
            installed = await self._board.installed()
            if joined or not self._is_right(installed) or await self._is_wrong(status):
                if not await self._set_right(installed, runs=status is not None) and status is None:
                    return "not started"
            else:
                self._say("service", "kept", "runs")
            status = await self._healthy()
        elif status is None:
            by_hand = f"python3 -I {self._board.path} agent"
            self._say("service", "note", f"this dfedge installs no service; start it there: {by_hand}")
            return "not started"
        if trouble := self.trouble(status):
            raise Refused(f"{self._to}: {trouble}", self._board.hint("dfedge doctor"))
        assert status is not None
        self._say("health", "done", f"dfedge {status.get('version', '?')}, {status.get('peers', 0)} peers")
        if self._behind(status):
            self._say("health", "note", "its agent runs on its old certificates until it is started anew")
            return "old certificates until it is started anew"
        if command := await self._board.to_linger():
            self._say("health", "note", f"its agent ends with the login; to let it run on, there: {command}")
            return "ends with the login"
        return ""

    def trouble(self, status: Status) -> str:
        """Why it is not healthy; empty if it is."""
        if status is None:
            return "no agent answers there"
        node = status.get("node")
        runs_as = str(node.get("id", "")) if isinstance(node, dict) else ""
        if runs_as != self._node:
            return f"the agent there still runs as node {runs_as[:12]}; start it anew"
        degraded = status.get("degraded")
        return f"its agent says: {degraded}"[:300] if degraded else ""

    def _behind(self, status: Mapping[str, object]) -> bool:
        days = status.get("certificate_days")
        return isinstance(days, int) and days + 2 < (self._ends - wall_time()) // DAY

    async def _is_wrong(self, status: Status) -> bool:
        """Whether the agent is not well, or runs another version, or on other certificates, than are there."""
        if status is None or self.trouble(status) or self._behind(status):
            return True
        return self._wanted != "" and status.get("version") != await self._board.version()

    def _is_right(self, installed: str) -> bool:
        """Whether the service is of the version that it is to be. Two builds may have one version number."""
        return installed != "" and (not self._wanted or self._wanted.startswith(installed))

    async def _set_right(self, installed: str, *, runs: bool) -> bool:
        """Install or change the service, and see that its agent is started, or anew; whether it was."""
        started, notes = False, ""
        if not installed or self._wanted:
            started, notes = await self._board.install_service()
        if not started:
            started = await self._board.restart_service(runs=runs)
        if not installed:
            did = "installed and started" if started else "installed"
        elif not self._is_right(installed):
            did = f"changed from {installed[:12]} to {self._wanted[:12]}"
        else:
            did = f"started{' anew' if runs else ''}" if started else "is there, but systemd does not start it"
        self._say("service", "done" if started else "note", f"{did}; {notes}" if notes else did)
        return started

    async def _healthy(self) -> Status:
        status: Status = None
        with anyio.move_on_after(HEALTH_TIMEOUT):
            while True:
                status = await self._board.status()
                if not self.trouble(status):
                    return status
                await anyio.sleep(POLL)
        why = f"not healthy after {HEALTH_TIMEOUT:.0f} s: {self.trouble(status)}"
        raise TimedOut(f"{self._to}: {why}", self._board.hint(self._board.journal))

    async def look(self, seen: Seen) -> bool | None:
        """Whether the operator's own agent meets it. It may be on another LAN, so that it does not is no failure."""
        met = await seen(self._node)
        with anyio.move_on_after(SEEN_TIMEOUT):
            while met is False:
                await anyio.sleep(POLL)
                met = await seen(self._node)
        if met is not None:
            self._say("seen", "done" if met else "note", "by the agent here" if met else "not by the agent here, yet")
        return met
