"""Publishing: cut and store what the operator passed, have it signed, and tell the peers."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from dfedge.core.errors import UsageError
from dfedge.core.image.cutter import piece_size
from dfedge.core.image.manifest import FileEntry, Manifest, image_id
from dfedge.core.image.name import check_name, check_no_clash, check_path, check_version
from dfedge.core.seams import ImageId
from dfedge.jobs.offer import offer_held
from dfedge.store.reading import OnLoop
from dfedge.store.store import Store
from dfedge.transfer.peers import Peers
from dfedge.trust.nodetrust import NodeTrust

SIGN_TIMEOUT: Final = 300.0  # seconds: a hardware key waits for a finger


@dataclass(frozen=True, slots=True)
class Offered:
    """A file that the operator publishes."""

    path: str  # inside the image
    size: int  # bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Published:
    """What came of it."""

    image: ImageId
    name: str
    version: str
    size: int
    pieces: int


async def publish(
    name: str,
    version: str,
    compatible: Sequence[str],
    files: Sequence[Offered],
    open_file: Callable[[int], Awaitable[int]],
    sign: Callable[[bytes], Awaitable[bytes]],
    *,
    before_write: OnLoop,
    report: Callable[[int, int], Awaitable[None]],
    nodes: int,
    store: Store,
    trust: NodeTrust,
    peers: Peers,
) -> Published:
    """Store an image, signed by whoever `sign` asks; `open_file` gives a descriptor of file number i, which we close;
    `before_write` is awaited with the bytes of each write: the disk has other work too. `report` hears now and then how
    many bytes have been read, and how many there are.

    Raises UsageError for names that break the rules, NoSpace, Refused (a file changed; the version exists with other
    content), Untrusted (the signer is not allowed), TimedOut. Nothing is kept then.
    """
    _check(name, version, files)
    total = sum(offered.size for offered in files)
    length = piece_size(total, max(nodes - 1, len(peers)))  # one of the fleet is the publisher
    stage = await store.stage(total, len(files))
    read = 0

    async def told(nbytes: int) -> None:
        await report(read + nbytes, total)

    try:
        entries: list[FileEntry] = []
        for number, offered in enumerate(files):
            fd = await open_file(number)
            try:
                entries.append(await stage.add(offered.path, fd, offered.mode & 0o777, length, before_write, told))
            finally:
                os.close(fd)
            read += offered.size
            await report(read, total)
        known = _published(store, name, version, tuple(compatible), tuple(entries))
        if known is not None:  # the very same was published before; a script may try again
            await stage.discard()
            return known
        manifest = Manifest(trust.fleet, name, version, tuple(compatible), int(trust.now()), tuple(entries))
        raw = manifest.encode()
        with anyio.fail_after(SIGN_TIMEOUT):
            signature = await sign(raw)
        signer = trust.verify_manifest(raw, signature)
        await stage.commit(manifest, raw, signature, signer)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stage.discard()
        raise
    image = image_id(raw)
    offer_held(store, peers)
    return Published(image, name, version, manifest.size, manifest.pieces)


def _published(
    store: Store, name: str, version: str, compatible: tuple[str, ...], entries: tuple[FileEntry, ...]
) -> Published | None:
    for stored in store.images():
        if stored.complete and (stored.name, stored.version) == (name, version):
            manifest = store.manifest(stored.image)
            if manifest.compatible == compatible and _content(manifest.files) == _content(entries):
                return Published(stored.image, name, version, manifest.size, manifest.pieces)
    return None


def _content(entries: tuple[FileEntry, ...]) -> list[tuple[str, bytes, int]]:
    """What the files are, however they are cut."""
    return [(entry.path, entry.digest, entry.mode) for entry in entries]


def _check(name: str, version: str, files: Sequence[Offered]) -> None:
    try:
        check_name(name)
        check_version(version)
        for offered in files:
            check_path(offered.path)
        check_no_clash(offered.path for offered in files)
    except ValueError as error:
        raise UsageError(f"publish {name}:{version}: {error}") from error
    if not files:
        raise UsageError(f"publish {name}:{version}: no files")
