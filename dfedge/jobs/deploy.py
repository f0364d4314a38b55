"""Makes nodes of hosts over plain SSH, several at once. Run again, it does only what is missing.

The private key is made on the node and stays there; what comes back is its public half, what goes out an enrolment.
"""

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

import anyio
import anyio.to_thread

from dfedge.core.errors import Corrupt, DfedgeError, NotFound, Refused, TimedOut
from dfedge.core.units import duration, size
from dfedge.jobs.board import Board, Shell
from dfedge.jobs.destination import Destination
from dfedge.jobs.enroll import enroll
from dfedge.jobs.payload import Payload
from dfedge.jobs.reach import Reach, remember
from dfedge.trust import file
from dfedge.trust.certificate import DAY
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import ALLOWED, HOST_CERT, RECORD, REVOCATION, ROOT, USER_CERT
from dfedge.trust.fleetfolder import NODES, FleetFolder
from dfedge.trust.record import NodeRecord

ENROLMENT: Final = (HOST_CERT, USER_CERT, RECORD, ROOT, ALLOWED, REVOCATION)
SOON: Final = 30 * DAY  # before the end of a certificate: deploy renews it by the way
HEALTH_TIMEOUT: Final = 60.0  # seconds; a board starts, unpacks, reads its index
SEEN_TIMEOUT: Final = 20.0  # seconds; mDNS tells within 5, a strange address is dialled within 10
POLL: Final = 1.0  # seconds

Connect = Callable[[Destination], AbstractAsyncContextManager[Shell]]
Seen = Callable[[str], Awaitable[bool | None]]
"""Whether the operator's own agent is connected to that node id; None where no agent runs."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done on every host."""

    fleet: Path
    payload: Payload | None  # none: the file that is there stays, as for a renewal
    labels: Mapping[str, str] = field(default_factory=dict)
    days: int = 1095
    renew: bool = False  # new certificates, however long the old ones last
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step on a host, as it is told."""

    host: str
    step: str  # check, file, key, join, service, health, seen, failed
    did: str  # done, kept (it was so before), would, note
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a host."""

    host: str
    name: str = ""
    id: str = ""
    state: str = "failed"  # healthy, joined, would, failed
    ends: int | None = None  # seconds since 1970
    seen: bool | None = None  # None: nobody here to see it
    note: str = ""
    error: DfedgeError | None = None


Tell = Callable[[Step], None]


async def deploy(
    order: Order, reaches: Sequence[Reach], connect: Connect, *, parallel: int, tell: Tell, seen: Seen
) -> list[Outcome]:
    """Deploy to all of them, `parallel` at once; the outcomes are in their order. One that fails stops no other."""
    outcomes = [Outcome(str(reach.destination)) for reach in reaches]
    limit = anyio.CapacityLimiter(parallel)
    keys: dict[str, str] = {}

    async def one(index: int, reach: Reach) -> None:
        async with limit:
            job = _Job(order, reach, tell, seen, keys)
            try:
                async with connect(reach.destination) as shell:
                    outcomes[index] = await job.run(Board(shell, reach.destination, reach.become))
            except (DfedgeError, OSError) as error:
                told = error if isinstance(error, DfedgeError) else Refused(f"{reach.destination}: {error}".lower())
                outcomes[index] = replace(job.outcome, state="failed", error=told)
                job.say("failed", "note", str(told))

    async with anyio.create_task_group() as group:
        for index, reach in enumerate(reaches):
            group.start_soon(one, index, reach)
    return outcomes


class _Job:
    """One host, from the look at it to the look at its agent."""

    def __init__(self, order: Order, reach: Reach, tell: Tell, seen: Seen, keys: dict[str, str]) -> None:
        self._order = order
        self._reach = reach
        self._tell = tell
        self._seen = seen
        self._keys = keys  # node id → host, of this run
        self._host = str(reach.destination)
        self._ssh = reach.destination.ssh
        self._changed = False
        self.outcome = Outcome(self._host)

    def say(self, step: str, did: str, text: str) -> None:
        self._tell(Step(self._host, step, did, text))

    def _learn(self, **facts: object) -> None:
        self.outcome = replace(self.outcome, **facts)  # type: ignore[arg-type]  # names of its fields

    async def run(self, board: Board) -> Outcome:
        order = self._order
        facts = await board.probe(order.payload.machines if order.payload else frozenset())
        version = ".".join(map(str, facts.python))
        self.say("check", "done", f"{facts.machine}, Python {version}, {'root' if facts.uid == 0 else facts.user}")
        there = await self._file(board)
        if not there:  # a dry run: without the file nobody can tell what else is missing
            self.say("join", "would", "make its key there, enrol it and let it join; install the service")
            return replace(self.outcome, state="would", note="copy, enrol, join, install")
        key = await self._key(board)
        await self._join(board, key, facts.nodename)
        if order.dry_run:
            todo = ["enrol and join"] if self._changed else []
            if await board.has_service() and (self._changed or not self._healthy(await board.status())):
                todo.append("install the service")
                self.say("service", "would", "install and start it")
            return replace(self.outcome, state="would", note=", ".join(todo) or "nothing to do")
        await self._service(board)
        return self.outcome

    async def _file(self, board: Board) -> bool:
        """Let the file be there; false if it is not, which only a dry run leaves so."""
        payload = self._order.payload
        if payload is None:
            if not await board.exists():
                raise NotFound(f"{self._host}: {board.path} is not there", f"dfedge fleet deploy {self._host}")
            return True
        length = size(len(payload.data))
        if await board.has(payload):
            self.say("file", "kept", f"{board.path} is the same {length}")
            return True
        if self._order.dry_run:
            self.say("file", "would", f"copy {length} to {board.path}")
            return False
        started = anyio.current_time()
        await board.put(payload)
        self._changed = True
        self.say("file", "done", f"{length} in {duration(anyio.current_time() - started)}, {board.path}")
        return True

    async def _key(self, board: Board) -> Mapping[str, object]:
        key = await board.key(dry_run=self._order.dry_run)
        node, public = key.get("id"), key.get("public")
        if not isinstance(node, str) or not isinstance(public, str):
            raise Corrupt(f"{self._host}: dfedge join --make-key there does not say which key it made")
        other = self._keys.setdefault(node, self._host)
        if other != self._host:
            raise Refused(
                f"{self._host}: has the same node key as {other}: it is the same host, or its card is a copy; "
                "on a copy remove the key, each node has its own",
                f"rm {public.removesuffix('.pub')} {public}",
            )
        made = bool(key.get("made"))
        self.say("key", "kept" if not made else "would" if self._order.dry_run else "done", f"node {node[:12]}")
        self._learn(id=node)
        return key

    async def _join(self, board: Board, key: Mapping[str, object], nodename: str) -> None:
        node, public = str(key["id"]), PurePosixPath(str(key["public"]))
        held = await anyio.to_thread.run_sync(self._held, node)
        name = self._name(held, nodename)
        self._learn(name=name)
        labels = {**(dict(held.labels) if held else {}), **self._order.labels}
        there = await board.read(str(public.parent / RECORD))
        if held and not self._order.renew and labels == dict(held.labels) and there == self._kept(name):
            left = held.ends - wall_time()
            if left > min(SOON, (held.ends - held.issued) // 3):
                self._learn(ends=held.ends)
                self.say("join", "kept", f"{name}, {left // DAY} d left")
                return
        self._changed = True
        if self._order.dry_run:
            self.say("join", "would", f"{'renew' if held else 'enrol'} {name} and let it join")
            return
        files, ends = await anyio.to_thread.run_sync(self._enrol, name, labels, await board.read(str(public)))
        await board.join(files)
        self._learn(ends=ends)
        self.say("join", "done", f"{'renewed' if there else 'joined'} as {name}, {(ends - wall_time()) // DAY} d left")

    def _held(self, node: str) -> NodeRecord | None:
        """The operator's record of that key, under whatever name. Raises Refused if it is revoked."""
        fleet = FleetFolder.open(self._order.fleet)
        if node in fleet.revocation.nodes:
            raise Refused(f"{self._host}: its node key is revoked ({node}); remove it there first", self._ssh)
        records = (fleet.record(name) for name in fleet.names())
        return next((record for record in records if record and record.id == node), None)

    def _kept(self, name: str) -> bytes | None:
        return file.read_if_there(self._order.fleet / NODES / name / RECORD)

    def _name(self, held: NodeRecord | None, nodename: str) -> str:
        wanted = self._reach.destination.name or (held.name if held else "")
        if self._order.renew and (not held or held.name != wanted):
            raise Refused(
                f"{self._host}: is {held.name if held else 'a node that was not enrolled by this fleet'}, not {wanted}",
                f"dfedge fleet deploy {wanted}={self._host}",
            )
        try:
            return wanted or self._reach.destination.suggested_name(nodename)
        except ValueError as error:
            raise Refused(
                f"{self._host}: {error}; say how it is called", f"dfedge fleet deploy NAME={self._host}"
            ) from error

    def _enrol(self, name: str, labels: Mapping[str, str], public: bytes) -> tuple[dict[str, bytes], int]:
        """Issue it; the files to carry, and when they end."""
        order = self._order
        with tempfile.TemporaryDirectory(prefix="dfedge-deploy-") as temporary:
            out, key = Path(temporary) / name, Path(temporary) / "node_key.pub"
            file.write(key, public)
            node = enroll(order.fleet, name, labels, out, key, order.days)
            if node.id != self.outcome.id:
                raise Corrupt(f"{self._host}: the public key there is not that of node {self.outcome.id[:12]}")
            remember(order.fleet, name, self._reach)
            return {part: file.read(out / part) for part in ENROLMENT}, node.ends

    async def _service(self, board: Board) -> None:
        status = await board.status()
        if await board.has_service():
            if self._changed or not self._healthy(status):
                await board.install_service()
                self.say("service", "done", "installed and started")
            else:
                self.say("service", "kept", "runs")
            status = await self._wait(board)
        elif status is None:
            note = f"this dfedge installs no service; start it there: python3 -I {board.path} agent"
            self.say("service", "note", note)
            self._learn(state="joined", note=note)
            return
        elif not self._healthy(status):
            raise Refused(f"{self._host}: {self._trouble(status)}", f"{self._ssh} dfedge doctor")
        self._learn(state="healthy")
        days = status.get("certificate_days")
        ends = self.outcome.ends
        if isinstance(days, int) and ends is not None and days + 2 < (ends - wall_time()) // DAY:
            self._learn(note="its agent runs on the certificate before, until it is started anew")
        self.say(
            "health",
            "done",
            f"dfedge {status.get('version', '?')}, {status.get('peers', 0)} peers {self.outcome.note}".rstrip(),
        )
        await self._look()

    async def _wait(self, board: Board) -> Mapping[str, object]:
        """Wait until it is healthy. Raises TimedOut with what it says last."""
        status: Mapping[str, object] | None = None
        with anyio.move_on_after(HEALTH_TIMEOUT):
            while True:
                status = await board.status()
                if status is not None and self._healthy(status):
                    return status
                await anyio.sleep(POLL)
        why = f"not healthy after {HEALTH_TIMEOUT:.0f} s: {self._trouble(status)}"
        raise TimedOut(f"{self._host}: {why}", f"{self._ssh} journalctl -u dfedge")

    def _healthy(self, status: Mapping[str, object] | None) -> bool:
        return status is not None and self._id_of(status) == self.outcome.id and not status.get("degraded")

    def _trouble(self, status: Mapping[str, object] | None) -> str:
        if status is None:
            return "no agent answers there"
        if self._id_of(status) != self.outcome.id:
            return f"the agent there runs as node {self._id_of(status)[:12]} still; start it anew"
        return f"its agent says: {str(status.get('degraded'))[:300]}"

    def _id_of(self, status: Mapping[str, object]) -> str:
        node = status.get("node")
        return str(node.get("id", "")) if isinstance(node, dict) else ""

    async def _look(self) -> None:
        """Whether the operator's own agent meets it. It may be on another LAN, so that it does not is no failure."""
        seen = await self._seen(self.outcome.id)
        with anyio.move_on_after(SEEN_TIMEOUT):
            while seen is False:
                await anyio.sleep(POLL)
                seen = await self._seen(self.outcome.id)
        self._learn(seen=seen)
        if seen is not None:
            self.say("seen", "done" if seen else "note", "by the agent here" if seen else "not by the agent here, yet")
