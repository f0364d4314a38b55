"""Makes nodes of hosts over plain SSH, several at once. Run again, it does only what is missing.

The private key is made on the node and stays there; what comes back is its public half, what goes out an enrolment.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import anyio
from anyio import to_thread

from dfedge.core.errors import Corrupt, DfedgeError, NotFound, Refused
from dfedge.core.units import duration, size
from dfedge.jobs.board import Board
from dfedge.jobs.bringup import BringUp
from dfedge.jobs.deployment import Connect, Order, Outcome, Seen, Step, Tell
from dfedge.jobs.issue import held_record, issue, name_of, stands
from dfedge.jobs.reach import Reach
from dfedge.trust.certificate import DAY
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import RECORD


async def deploy(
    order: Order, reaches: Sequence[Reach], connect: Connect, *, parallel: int, tell: Tell, seen: Seen
) -> list[Outcome]:
    """Deploy to all of them, `parallel` at once; the outcomes are in their order. One that fails stops no other."""
    outcomes = [Outcome(str(reach.destination)) for reach in reaches]
    limit = anyio.CapacityLimiter(parallel)
    keys: dict[str, str] = {}

    async def one(index: int, reach: Reach) -> None:
        async with limit:
            job = Deployment(order, reach, tell, seen, keys)
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


class Deployment:
    """One host, from the look at it to the look at its agent."""

    def __init__(self, order: Order, reach: Reach, tell: Tell, seen: Seen, keys: dict[str, str]) -> None:
        self._order = order
        self._reach = reach
        self._tell = tell
        self._seen = seen
        self._keys = keys  # node id → host, of this run
        self._host = str(reach.destination)
        self._ssh = reach.destination.ssh
        self.outcome = Outcome(self._host)

    def say(self, step: str, did: str, text: str) -> None:
        self._tell(Step(self._host, step, did, text))

    def _learn(self, **facts: object) -> None:
        self.outcome = replace(self.outcome, **facts)  # type: ignore[arg-type]  # names of its fields

    async def run(self, board: Board) -> Outcome:
        """Do all of it. Raises what went wrong; `outcome` then says how far it got."""
        order = self._order
        facts = await board.probe(order.payload.machines if order.payload else frozenset())
        version = ".".join(map(str, facts.python))
        self.say("check", "done", f"{facts.machine}, Python {version}, {'root' if facts.uid == 0 else facts.user}")
        if not await self._file(board):  # a dry run: without the file nobody can tell what else is missing
            self.say("join", "would", "make its key there, enrol it, let it join, install the service")
            return replace(self.outcome, state="would", note="copy, enrol, join, install")
        node, public = await self._key(board)
        joined = await self._join(board, node, public, facts.nodename)
        wanted = order.payload.sha256 if order.payload else ""
        bringup = BringUp(board, self._reach.destination, node, wanted, self.outcome.ends or 0, self.say)
        if order.dry_run:
            todo = ["enrol and join"] if joined else []
            if await bringup.missing():
                todo.append("install the service")
                self.say("service", "would", "install and start it")
            return replace(self.outcome, state="would", note=", ".join(todo) or "nothing to do")
        note = await bringup.run(joined=joined)
        self._learn(state="joined" if await board.status() is None else "healthy", note=note)
        if self.outcome.state == "healthy":
            self._learn(seen=await bringup.look(self._seen))
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
        self.say("file", "done", f"{length} in {duration(anyio.current_time() - started)}, {board.path}")
        return True

    async def _key(self, board: Board) -> tuple[str, PurePosixPath]:
        """Let it have a node key: the node id, and where its public half is."""
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
        return node, PurePosixPath(public)

    async def _join(self, board: Board, node: str, public: PurePosixPath, nodename: str) -> bool:
        """Let it be the node that the operator's records say; whether that takes, or took, a new enrolment."""
        order, reach = self._order, self._reach
        held = await to_thread.run_sync(held_record, order, reach, node)
        name = name_of(order, reach, held, nodename)
        self._learn(name=name, ends=held.ends if held else None)
        labels = {**(dict(held.labels) if held else {}), **order.labels}
        there = await board.read(str(public.parent / RECORD))
        if held and stands(order, held, labels, there):
            self.say("join", "kept", f"{name}, {(held.ends - wall_time()) // DAY} d left")
            return False
        if order.dry_run:
            self.say("join", "would", f"{'renew' if held else 'enrol'} {name} and let it join")
            return True
        key = await board.read(str(public))
        files, ends = await to_thread.run_sync(issue, order, reach, name, labels, node, key)
        await board.join(files)
        self._learn(ends=ends)
        self.say("join", "done", f"{'renewed' if there else 'joined'} as {name}, {(ends - wall_time()) // DAY} d left")
        return True
