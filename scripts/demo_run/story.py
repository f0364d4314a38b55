"""What happens, in order: a fleet is made, an image spreads, a node is killed and goes on where it was."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from board import Member, promise
from lab import Lan

from demo_run.download import Download
from demo_run.processors import Processors
from demo_run.screen import console, mib, say, table, watch
from demo_run.source import Source, scrambled, sha256

NODES: Final = 5  # that fetch; one more publishes
LINK_MBIT: Final = 100.0
LINK_BYTES: Final = LINK_MBIT * 1e6 / 8  # bytes/s
PATIENCE_S: Final = 30.0  # for an image, beyond ten times what its line needs
FIT_TO_JUDGE: Final = 32 * 1024 * 1024  # bytes; under it the start of six Pythons is most of the time
MOST_TIMES_LINE: Final = 2.0  # S/R that the slowest node may take
MOST_UPLOAD: Final = 2.0  # images that the publisher may send
MOSTLY_EMPTY: Final = 0.8  # of an image; one of which less had to be fetched says nothing about the line
TOO_BUSY: Final = 0.9  # of all processors: six nodes share those of this machine, with whatever else runs on it
KILL_AT: Final = 0.4  # of the second image
CONNECT_S: Final = 60.0  # a busy machine gives agents, at nice 10, little: five seconds are usual
STOP_S: Final = 15.0  # what an agent may take to end


@dataclass(frozen=True, slots=True)
class Stage:
    """The fleet while the story lasts."""

    lan: Lan
    folder: Path
    members: tuple[Member, ...]

    @property
    def publisher(self) -> Member:
        return self.members[0]

    @property
    def others(self) -> tuple[Member, ...]:
        return self.members[1:]


def tell(source: Source, folder: Path) -> None:
    """Play the whole story in `folder`. Raises Broken, or the lab's error, where something is not as promised."""
    say(f"Image: {source.words} ({mib(source.size)})")
    (folder / "dfedge.toml").touch()
    with Lan("demo", NODES + 1, LINK_MBIT) as lan:
        names = ("publisher", *(f"node-{number}" for number in range(1, NODES + 1)))
        members = tuple(Member(lan, number, name, folder / name) for number, name in enumerate(names))
        stage = Stage(lan, folder, members)
        _make_fleet(stage)
        fetched = _spread(stage, source)
        if fetched < MOSTLY_EMPTY * source.size:
            say(
                f"Most of this image is empty: only {mib(fetched)} of it differ, and a piece that repeats is fetched "
                "once. So the line is put to the test with an image that has no two pieces alike."
            )
            _spread(stage, scrambled(source, folder, 1, "full"))
        _kill_and_resume(stage, scrambled(source, folder, 2, "second"))
        _end(stage)
    say()
    say("All as promised.")


def _make_fleet(stage: Stage) -> None:
    started = time.monotonic()
    first = stage.publisher
    for member in stage.members:
        member.folder.mkdir()
    first.ask("fleet", "init", str(stage.folder / "fleet"))
    for member in stage.members:
        enrolment = str(stage.folder / f"enrol-{member.name}")
        first.ask("fleet", "enroll", member.name, "--out", enrolment)
        member.ask("join", enrolment)
    ids = {node["name"]: node["id"] for node in first.ask("fleet", "list")["nodes"]}
    for member in stage.members:
        member.id = ids[member.name]
        member.start()
    begun = time.monotonic()
    for member in stage.members:
        member.await_peers(NODES, CONNECT_S)
    say(
        f"Fleet: {len(stage.members)} nodes enrolled and joined in {begun - started:.1f} s; "
        f"each found the other {NODES} by mDNS, {time.monotonic() - begun:.1f} s after their agents were started"
    )


def _publish(stage: Stage, source: Source) -> str:
    published = stage.publisher.ask("publish", source.path, "--name", source.name, "--version", source.version)
    ref = f"{source.name}:{source.version}"
    say(f"Published {ref}: {mib(published['bytes'])} in {published['pieces']:,} pieces, id {published['image'][:19]}…")
    return ref


def _spread(stage: Stage, source: Source) -> int:
    """Publish, get everywhere at once, show. Returns how many bytes a node had to fetch."""
    say()
    ref = _publish(stage, source)
    limit = PATIENCE_S + 10 * source.size / LINK_BYTES
    sent_before, processors = stage.lan.counters(0).tx_bytes, Processors()
    say(f"dfedge get {ref} on {NODES} nodes at once, links of {LINK_MBIT:.0f} Mbit/s:")
    downloads = [Download(member, ref, member.folder / "first.img") for member in stage.others]
    watch(downloads, lambda: not any(one.running for one in downloads), limit)
    results = [one.finish(1) for one in downloads]
    sent, busy = stage.lan.counters(0).tx_bytes - sent_before, processors.busy()
    wanted = sha256(Path(source.path))
    _show(stage, downloads, results, wanted)
    slowest, line = max(one.seconds for one in downloads), source.size / LINK_BYTES
    say(
        f"Slowest: {slowest:.1f} s = {slowest / line:.2f} × S/R (image over line rate, {line:.1f} s). "
        f"The publisher sent {mib(sent)} on the wire = {sent / source.size:.2f} × the image, not {NODES} ×."
    )
    if source.size >= FIT_TO_JUDGE:
        times = slowest / line
        if times > MOST_TIMES_LINE and busy > TOO_BUSY:
            say(f"That is slow; the processors of this machine were {busy:.0%} busy, so it says little about the line.")
        else:
            promise(
                times <= MOST_TIMES_LINE,
                f"the slowest took {times:.2f} × S/R, over {MOST_TIMES_LINE}, with the processors {busy:.0%} busy",
            )
        promise(
            sent <= MOST_UPLOAD * source.size,
            f"the publisher sent {sent / source.size:.2f} × the image, over {MOST_UPLOAD}",
        )
    return max(int(result["bytes_fetched"]) for result in results)


def _show(
    stage: Stage, downloads: list[Download], results: list[dict[str, Any]], wanted: str, again: Download | None = None
) -> None:
    rows = []
    for one, result in zip(downloads, results, strict=True):
        from_peer = {peer["id"]: peer["bytes"] for peer in result["peers"]}
        from_publisher = from_peer.pop(stage.publisher.id, 0)
        rows.append(
            (
                f"{one.member.name}{' again' if one is again else ''}",
                f"{one.seconds:.1f}",
                mib(from_publisher),
                mib(sum(from_peer.values())),
                f"{_proven(one, wanted)[:16]}… ok",
            )
        )
    table(("NODE", "SECONDS", "FROM PUBLISHER", "FROM NEIGHBOURS", "SHA-256 OF THE OUTPUT"), rows, right=(1, 2, 3))


def _proven(one: Download, wanted: str) -> str:
    """Hash an output as anybody would, then remove it: six nodes share this disk."""
    promise(one.output.is_file(), f"{one.member.name}: {one.output.name} is missing")
    found = sha256(one.output)
    promise(found == wanted, f"{one.member.name}: its file has SHA-256 {found}, the source {wanted}")
    one.output.unlink()
    return found


def _kill_and_resume(stage: Stage, source: Source) -> None:
    say()
    say(f"Now a node is killed. Image: {source.words} ({mib(source.size)})")
    ref = _publish(stage, source)
    limit = PATIENCE_S + 10 * source.size / LINK_BYTES
    downloads = [Download(member, ref, member.folder / "second.img") for member in stage.others]
    victim = downloads[2]
    name = victim.member.name
    watch(downloads, lambda: victim.share >= KILL_AT or not victim.running, limit)
    promise(victim.running and victim.share >= KILL_AT, f"{name}: was not seen at {KILL_AT:.0%} while fetching")
    seen = victim.done
    victim.member.kill()
    say(f"kill -9 of the agent of {name}, with {mib(seen)} ({seen / source.size:.0%}) proven")
    promise(victim.wait(10) != 0, f"{name}: dfedge get says that all is well although its agent was killed")
    promise(not victim.output.exists(), f"{name}: {victim.output.name} is there, half-written")
    victim.member.start()
    victim.member.await_peers(1, CONNECT_S)
    again = Download(victim.member, ref, victim.output)
    downloads[2] = again
    watch(downloads, lambda: not any(one.running for one in downloads), limit)
    results = [one.finish(1) for one in downloads]
    _show(stage, downloads, results, sha256(Path(source.path)), again)
    here, fetched = results[2]["bytes_reused"], results[2]["bytes_fetched"]
    say(f"{name} was started again: {mib(here)} were already there and not fetched again, {mib(fetched)} were fetched")
    promise(here >= seen, f"{name}: {mib(seen)} were proven before the kill, {mib(here)} were kept")
    promise(here + fetched == source.size, f"{name}: {here:,} bytes kept and {fetched:,} fetched, of {source.size:,}")


def _end(stage: Stage) -> None:
    for member in stage.members:
        if member.agent is not None:
            member.agent.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for member in stage.members:
        member.stop(max(0.0, deadline - time.monotonic()))
    console.file.flush()
