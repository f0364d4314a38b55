"""A running node: every room opened, wired to its siblings, and closed again in the right order."""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.abc

from dfedge import __version__
from dfedge.core.errors import DfedgeError
from dfedge.core.seams import Clock, ImageId
from dfedge.core.swarm.blame import Blame
from dfedge.core.swarm.policy import Policy
from dfedge.core.units import host_port
from dfedge.core.wire.message import PROTOCOL, Hello
from dfedge.discovery.mdns import Mdns
from dfedge.discovery.roster import Roster
from dfedge.discovery.static import parse
from dfedge.jobs.bundle_import import Importer
from dfedge.jobs.bundle_watch import Watch
from dfedge.jobs.collect import keep_room
from dfedge.jobs.connect import Mesh
from dfedge.jobs.fetch import Fetcher
from dfedge.jobs.mend import Mender
from dfedge.jobs.offer import offer_held
from dfedge.jobs.resolve import Resolver
from dfedge.jobs.scrub import Scrub
from dfedge.node import control, process
from dfedge.node.config import Config
from dfedge.node.notify import Notifier
from dfedge.node.reload import Settings, reload_on_signal
from dfedge.node.sense import doubts
from dfedge.node.uplinkfile import UplinkFile
from dfedge.node.verbs import handlers
from dfedge.node.view import View
from dfedge.store.eviction import Watermarks
from dfedge.store.store import Store
from dfedge.throttle import actuator
from dfedge.throttle.orders import Orders
from dfedge.throttle.policy import Policy as ThrottlePolicy
from dfedge.throttle.policy import Profile
from dfedge.throttle.steering import Steering
from dfedge.throttle.throttle import Throttle
from dfedge.transfer import listener as listening
from dfedge.transfer.downlink import Downlink
from dfedge.transfer.gossip import Gossip
from dfedge.transfer.peers import Peers
from dfedge.transfer.ports import PieceStore
from dfedge.transfer.serve import Uplink
from dfedge.transfer.swarms import Swarms
from dfedge.trust.nodetrust import NodeTrust

SETTLE_AFTER: Final = 5.0  # seconds from start to giving back what starting needed
KEEP_EVERY: Final = 5.0  # seconds between two tries to write what a disk refused
TRIM_EVERY: Final = 15.0  # seconds between looks whether transfers have ended
TIDY_EVERY: Final = 60.0  # seconds at most between two tidyings: some nodes are never quiet, and strangers storm any
log = logging.getLogger("dfedge.node")


class StoreShelf:
    """The store as the wire sees it: what we may serve."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, image: ImageId) -> tuple[bytes, bytes] | None:
        """The manifest's bytes and its signature file, if we hold it and can read it."""
        stick = self._store.sticks.find(image)
        if stick is not None:
            return stick.files
        with suppress(DfedgeError):  # the store is degraded then, and says so
            return self._store.manifest_files(image)
        return None

    def open(self, image: ImageId) -> PieceStore | None:
        """The pieces of an image that we hold whole and can read."""
        held = {stored.image for stored in self._store.images() if stored.complete}
        with suppress(DfedgeError):
            return self._store.open_image(image) if image in held else self._store.sticks.find(image)
        return None

    def lease(self, image: ImageId) -> AbstractContextManager[None]:
        """Keep an image from eviction while it is served."""
        return self._store.lease(image)


@dataclass(slots=True)
class Node:
    """The rooms of one node, wired. Made by `run_agent`, which also ends them."""

    config: Config
    settled: Config  # the one whose [throttle] holds: read again on SIGHUP
    store: Store
    trust: NodeTrust
    peers: Peers
    swarms: Swarms
    uplink: Uplink
    blame: Blame
    throttle: Throttle
    steering: Steering
    roster: Roster
    mesh: Mesh
    gossip: Gossip
    mdns: Mdns | None
    resolver: Resolver
    fetcher: Fetcher
    mender: Mender
    network: bool
    started: float = field(default_factory=time.monotonic)
    listen: str = ""
    doubts: Sequence[str] = ()  # settings that this host can't keep

    def is_busy(self) -> bool:
        """Whether transfers run, or programs wait for the disk: what can wait does so."""
        return self.peers.are_busy or self.throttle.disk_is_busy

    def importer(self) -> Importer:
        """What takes bundles in here."""
        return Importer(self.store, self.trust, self.peers, self.swarms, time.monotonic, self.throttle.before_write)

    def settle(self, config: Config) -> None:
        """Go by the [throttle] of other settings from now on."""
        if self.config.throttle.enabled:
            self.settled = config
            self.steering.settings(config.throttle.orders)


def build(config: Config, store: Store, trust: NodeTrust, *, network: bool) -> Node:
    """Wire the rooms of a node. Nothing runs yet."""
    boot = os.urandom(16)
    rng = random.Random(int.from_bytes(boot, "big"))  # noqa: S311 - it breaks ties and spreads retries
    blame = Blame()
    blame.restore(trust.read_bans(), time.monotonic())
    throttle = Throttle(
        _throttle_policy(config),
        lambda: [peer.connection for peer in peers],
        config.state_dir,
        work=store.work_at_once,
    )
    uplink = Uplink(throttle.limiter.up)
    downlink = Downlink(throttle.limiter.down)
    cap = throttle.policy.host.down
    policy = Policy() if cap is None else _patient(int(cap))

    def hello(links: int) -> Hello:
        port, agent = config.node.listen[1], f"dfedge {__version__}"
        return Hello(PROTOCOL, boot, trust.fleet, port, links, agent, trust.own_record, trust.revocation)

    peers = Peers(trust, uplink, downlink, blame, hello, rng)
    roster = Roster(trust.own_id, rng)
    listed = [parse(peer) for peer in config.discovery.peers]
    mesh = Mesh(roster, peers, trust, time.monotonic, listed, rng)
    gossip = Gossip(trust, peers, mesh.told, time.monotonic, rng)
    swarms = Swarms(trust, peers, gossip, StoreShelf(store), uplink, blame, time.monotonic, rng, policy)
    peers.members = swarms
    mdns = _mdns(config, trust, mesh) if network and config.discovery.mdns else None

    def tried() -> str:
        ways = []
        if mdns is not None:
            others = f" (heard there: {count} of other fleets)" if (count := mdns.foreign()) else ""
            ways.append(f"mDNS on {', '.join(mdns.listening) or 'no interface'}{others}")
        if listed:
            ways.append("static peers " + ", ".join(map(str, listed)))
        return " and ".join(ways) or "nothing: mDNS is off and no peers are listed"

    resolver = Resolver(store, trust, peers, gossip, time.monotonic, tried, network=network)
    fetcher = Fetcher(store, peers, swarms, resolver, time.monotonic)
    return Node(
        config=config,
        settled=config,
        store=store,
        trust=trust,
        peers=peers,
        swarms=swarms,
        blame=blame,
        uplink=uplink,
        throttle=throttle,
        steering=_steering(config, throttle, trust.now),
        roster=roster,
        mesh=mesh,
        gossip=gossip,
        mdns=mdns,
        resolver=resolver,
        fetcher=fetcher,
        mender=Mender(store, peers, swarms, resolver, trust.now, time.monotonic),
        network=network,
    )


def _steering(config: Config, throttle: Throttle, wall: Clock) -> Steering:
    kept = UplinkFile(config.state_dir)
    orders = config.throttle.orders if config.throttle.enabled else Orders(throttle.policy)
    return Steering(orders, throttle.change, time.monotonic, wall, lambda: throttle.moved_beyond, kept)


def _throttle_policy(config: Config) -> ThrottlePolicy:
    return config.throttle.orders.policy if config.throttle.enabled else ThrottlePolicy(Profile.FULL)


def _patient(cap: int) -> Policy:
    """Under a cap of our own a peer is not slow because we ask it late: owe less at a time, and wait longer."""
    return Policy(max_outstanding_bytes=cap, pipeline_bytes=cap // 4, first_snub_s=30.0, snub_s=15.0)


def _mdns(config: Config, trust: NodeTrust, mesh: Mesh) -> Mdns:
    return Mdns(
        trust.own_id,
        config.node.name or trust.own.name,
        trust.fleet,
        config.node.listen[1],
        config.discovery.interfaces,
        mesh.heard,
        mesh.gone,
        mesh.network_changed,
    )


async def run(
    config: Config,
    network: bool,
    on_ready: Callable[[], None] | None,
    stop: anyio.Event,
    settings: Settings | None = None,
) -> None:
    """Open the rooms, run the node until `stop` is set, and close them; see `node.agent.run_agent`."""
    trust = NodeTrust.open(config.state_dir)
    wanted = config.store
    marks = Watermarks(wanted.evict_from, wanted.evict_to)
    store = Store.open(config.state_dir, wanted.quota, wanted.keep_free, trust.now, marks)
    try:
        if config.throttle.enabled:
            actuator.step_back()
        node = build(config, store, trust, network=network)
        node.doubts = doubts(config)
        for doubt in node.doubts:
            log.warning("doubtful setting=%r", doubt)
        offer_held(store, node.peers)
        await _run(node, on_ready, stop, settings)
    finally:
        store.close()


async def _run(node: Node, on_ready: Callable[[], None] | None, stop: anyio.Event, settings: Settings | None) -> None:
    notifier = Notifier()
    async with anyio.create_task_group() as tasks:
        view = View(node)
        await _start(node, view, tasks)
        if settings is not None:
            await tasks.start(reload_on_signal, node.config, settings, node.settle)
        await tasks.start(control.serve, node.config.runtime_dir, handlers(node, view))
        notifier.tell("READY=1", f"MAINPID={os.getpid()}")
        tasks.start_soon(notifier.keep_alive, view.healthy, view.line)
        if on_ready is not None:
            on_ready()
        log.info("ready node=%s id=%s listen=%s", node.trust.own.name, node.trust.own_id, node.listen or "-")
        tasks.start_soon(_stay_small, node.swarms.drives, node.store)
        tasks.start_soon(_keep_trust, node.trust)
        tasks.start_soon(_keep_bans, node.trust, node.blame)
        await stop.wait()
        notifier.tell("STOPPING=1")
        node.peers.close_all("the node stops")
        tasks.cancel_scope.cancel()
    log.info("stopped node=%s", node.trust.own.name)


async def _start(node: Node, view: View, tasks: anyio.abc.TaskGroup) -> None:
    tasks.start_soon(node.store.run)
    tasks.start_soon(node.uplink.run)
    if node.config.throttle.enabled:
        tasks.start_soon(node.throttle.run)
        tasks.start_soon(node.steering.run)
    tasks.start_soon(node.swarms.run)
    if not node.network:
        return
    tasks.start_soon(keep_room, node.store, node.peers, node.swarms)
    tasks.start_soon(node.mender.run)
    if node.config.store.scrub is not None:
        scrub = Scrub(node.store, node.config.store.scrub, node.is_busy, node.trust.now, _boottime)
        tasks.start_soon(scrub.run)
    if node.config.imports.watch:
        tasks.start_soon(Watch(node.config.imports.watch, node.importer()).run)
    host, port = node.config.node.listen
    sockets = listening.bind(host, port)
    node.listen = host_port(host, port)
    server = listening.Listener(node.trust, node.peers, view.describe)
    tasks.start_soon(server.run, sockets)
    tasks.start_soon(node.mesh.run)
    if node.mdns is not None:
        tasks.start_soon(node.mdns.run)


def _boottime() -> float:
    """Seconds that also pass while the board sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _keep_trust(trust: NodeTrust) -> None:
    """Write again what the disk refused of revocations and floors, until it takes it."""
    while True:
        await anyio.sleep(KEEP_EVERY)
        if trust.unkept:
            trust.keep_again()


async def _keep_bans(trust: NodeTrust, blame: Blame) -> None:
    """Write down who is banned, when somebody is banned anew."""
    kept = blame.banned(time.monotonic())
    while True:
        await anyio.sleep(KEEP_EVERY)
        banned = blame.banned(time.monotonic())
        if not banned.items() <= kept.items() or trust.unkept:
            trust.keep_bans(blame.standing(time.monotonic()))
        kept = banned


async def _stay_small(drives: Callable[[], Sequence[object]], store: Store) -> None:
    """Give back what starting needed, and later what transfers and strangers needed, soon after they are over."""
    await anyio.sleep(SETTLE_AFTER)
    process.settle()
    was_busy, tidied = True, time.monotonic()
    while True:
        await anyio.sleep(TRIM_EVERY)
        is_busy = bool(drives())
        has_ended = was_busy and not is_busy
        if has_ended:
            store.rest()
        if has_ended or time.monotonic() - tidied >= TIDY_EVERY:
            process.tidy()
            tidied = time.monotonic()
        was_busy = is_busy
