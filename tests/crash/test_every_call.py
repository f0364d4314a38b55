"""A crash after every call that touches the disk, with whatever was not synced gone, there, or torn.

What a user loses if one fails: a file shown as complete that is wrong, proven bytes fetched again, a revoked node
let in again, an image that was said to be stored, a disk full of leftovers.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fleet import Fleet, until

from dfedge.store.store import Store
from dfedge.trust.floor import Floors

from . import busy_store
from .recorder import Mark, Write, available, existing, read, record, traced
from .replay import Cut, build, cuts, killed

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "-")

FETCHED = {fw.manifest.name: fw for fw in (busy_store.BEFORE, busy_store.FETCHED, busy_store.SHARING)}
CONTENT = {name: fw.files for name, fw in FETCHED.items()} | {"published": busy_store.PUBLISHED}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where crashed states are built: thousands of small files, which need no disk."""
    folder = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    place = folder / f"dfedge-replay-{os.getpid()}"
    place.mkdir(mode=0o700)
    yield place
    shutil.rmtree(place)


@pytest.mark.anyio
async def test_a_store_cut_after_any_call_shows_nothing_wrong_and_fetches_nothing_twice(
    tmp_path: Path, scratch: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    ops = record(state, tmp_path / "log", "crash.busy_store")
    number = 0
    for done, said, cut, tree in cuts(ops, seed=1, torn=2):
        number += 1
        place = scratch / str(number)
        build(tree, place)
        try:
            with closing(Store.open(place, None, 0, lambda: 1_700_000_000.0)) as store:
                await _check(store, place, said, cut)
        except BaseException as error:
            error.add_note(f"after {done} of {len(ops)} calls ({ops[done - 1]!r:.300}), {cut.value}; said {said[-3:]}")
            raise
        shutil.rmtree(place)
    assert number > 500


async def _check(store: Store, state: Path, said: list[str], cut: Cut) -> None:
    shown = {image.name: image for image in store.images()}
    for name in _said(said, "complete"):
        if name not in _said(said, "removing"):
            assert name in shown and shown[name].complete, f"{name} was stored, and is lost"
    for name in _said(said, "removed"):
        assert name not in shown, f"{name} was removed, and is back"
    if _said(said, "pinned"):
        assert shown["gateway-os"].pinned, "the pin is lost"
    for name, image in shown.items():
        manifest = store.manifest(image.image)
        assert store.manifest_files(image.image) is not None and image.signer == "alice"
        if image.complete:
            for entry in manifest.files:
                data = (state / "blobs/sha256" / entry.digest.hex()).read_bytes()
                assert data == CONTENT[name][entry.path], f"{name} is shown complete, and {entry.path} is wrong"
    assert (await store.verify(None)).bad == (), "a piece is held that is not good"
    for name, fw in FETCHED.items():
        if name in shown and not shown[name].complete:
            partial = await fw.begin(store)
            sure = {int(word) for line in said if line.startswith(f"durable {name} ") for word in line.split()[2:]}
            if cut is Cut.KILLED:
                sure |= {int(line.split()[2]) for line in said if line.startswith(f"put {name} ")}
            assert sure <= set(partial.holds), f"pieces {sure - set(partial.holds)} of {name} were proven, and are lost"
            for piece in partial.holds:
                assert await partial.recheck(piece)
            await fw.put(partial)
            await partial.finish()
    _no_leftover(store, state)


def _said(said: list[str], what: str) -> list[str]:
    return [line.split()[1] for line in said if line.split()[0] == what]


def _no_leftover(store: Store, state: Path) -> None:
    assert not list((state / "partial").iterdir())
    files = {entry.digest.hex() for image in store.images() for entry in store.manifest(image.image).files}
    assert {path.name for path in (state / "blobs/sha256").iterdir()} == files, "files that no image has"
    known = {image.image.hex() for image in store.images()}
    left = {path.name for path in (state / "manifests").iterdir() if path.name.split(".", 1)[0] not in known}
    assert not left | {path.name for path in (state / "manifests").iterdir() if path.name.endswith(".tmp")}


def _check_floors(place: Path, said: list[str]) -> None:
    floors = Floors.load(place)
    seen = [int(line.split()[1]) for line in said if line.startswith("floor")]
    assert not (seen and floors.broken)
    assert floors.get("revocation")[1] >= max(seen, default=0), "a floor went back"
    lists = [int(line.split()[1]) for line in said if line.startswith("list")]
    if lists:
        data = (place / "revocation").read_bytes()
        number = int(data.split()[1])
        assert data == b"list %d\n" % number * 100 and number >= max(lists), "a list is torn, or went back"


def test_floors_cut_after_any_call_never_go_back(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "trust"
    folder.mkdir(mode=0o700)
    ops = record(folder, tmp_path / "log", "crash.busy_trust", "1", "3")
    for number, (done, said, cut, tree) in enumerate(cuts(ops, seed=2, torn=6)):
        build(tree, scratch / str(number))
        try:
            _check_floors(scratch / str(number), said)
        except AssertionError as error:
            error.add_note(f"after {done} of {len(ops)} calls ({ops[done - 1]!r:.200}), {cut.value}")
            raise


def test_floors_never_go_back_when_the_power_is_cut_after_a_kill(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "trust"
    folder.mkdir(mode=0o700)
    first = record(folder, tmp_path / "log", "crash.busy_trust", "1", "2")
    kills = [number for number, op in enumerate(first, 1) if not isinstance(op, Mark)]
    for kill in kills[len(kills) // 2 :: 2]:
        again = tmp_path / f"killed-{kill}"
        build(killed(first[:kill]), again)
        ops = record(again, tmp_path / "log", "crash.busy_trust", "3", "4", before=first[:kill])
        for number, (_, said, _, tree) in enumerate(cuts(ops, seed=kill, torn=3, first=kill)):
            place = scratch / f"{kill}-{number}"
            build(tree, place)
            _check_floors(place, said)


def test_an_agent_that_publishes_has_the_image_whole_or_not_at_all_after_any_call(
    tmp_path: Path, scratch: Path
) -> None:
    fleet = Fleet(tmp_path)
    board = fleet.board()
    source = tmp_path / "image"
    source.write_bytes(os.urandom(300_000))
    before = existing(board.state)
    command = traced(tmp_path / "log", [sys.executable, "-m", "dfedge", "agent"])
    with (tmp_path / "agent.log").open("w") as log:
        board.process = subprocess.Popen(command, env=board.environ, stdout=log, stderr=log, text=True)
    try:
        until(board._answers, "the agent to answer")
        board.ask("publish", str(source), "--name", "image", "--version", "1")
        board.ask("pin", "image:1")
    finally:
        os.kill(int((board.state / "lock").read_text()), signal.SIGTERM)  # strace lets no signal through
        board.process.wait(30)
    ops = read(board.state, tmp_path / "log", before)
    assert sum(isinstance(op, Write) for op in ops) > 10
    for number, (done, said, cut, tree) in enumerate(cuts(ops, seed=3, torn=1, first=len(before))):
        place = scratch / str(number)
        build(tree, place)
        try:
            _check_published(place, source.read_bytes(), any('"pieces"' in line for line in said))
        except BaseException as error:
            error.add_note(f"after {done} of {len(ops)} calls ({ops[done - 1]!r:.200}), {cut.value}")
            raise
        shutil.rmtree(place)


def _check_published(state: Path, content: bytes, was_told: bool) -> None:
    with closing(Store.open(state, None, 0, lambda: 1_700_000_000.0)) as store:
        images = store.images()
        assert not was_told or images, "it was published, and is lost"
        assert not was_told or not Floors.load(state / "trust").broken
        for image in images:
            assert image.complete, "it is half here, and nobody has the rest"
            assert store.manifest_files(image.image) is not None
            (entry,) = store.manifest(image.image).files
            assert (state / "blobs/sha256" / entry.digest.hex()).read_bytes() == content
        _no_leftover(store, state)
