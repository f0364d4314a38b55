"""The store: the one way to this node's images on disk.

Longer than other modules: it is the door, and each of its many methods only hands on to the one module that does it.
"""

import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import anyio

from dfedge.core.errors import Corrupt, DfedgeError, NotFound, Refused
from dfedge.core.image.manifest import Manifest, image_id
from dfedge.core.seams import ImageId
from dfedge.core.units import short_digest
from dfedge.store.catalogue import Catalogue, StoredImage, sweep
from dfedge.store.clearing import Cleared, Clearing
from dfedge.store.content import Content, Shared
from dfedge.store.damage import Damages, RotWatcher
from dfedge.store.descriptor import Descriptors
from dfedge.store.eviction import NOTHING, USUAL, Evicted, Eviction, Room, Watermarks
from dfedge.store.fault import disk_fault, told
from dfedge.store.health import Health
from dfedge.store.held import HeldImage
from dfedge.store.housekeeping import Housekeeping
from dfedge.store.ingest import Stage, check_all_there
from dfedge.store.layout import STAGE_PREFIX, Layout, sync_folder
from dfedge.store.lock import StateLock
from dfedge.store.output import copy_out
from dfedge.store.partial import PartialImage
from dfedge.store.quota import Limits, Usage
from dfedge.store.scrub import Scrubber
from dfedge.store.shelf import SHELF_FILES
from dfedge.store.stick import Sticks
from dfedge.store.verify import Progress, VerifyReport, verify
from dfedge.store.worker import Workers

LONG_JOBS: Final = 4  # whole files hashed, synced, copied at once; each has a thread, but they wait for one disk
FETCH_FILES: Final = 3  # a partial image's folder, its journal and a draft of that
RECENT: Final = 8  # images whose state is kept though nobody holds on to them
log = logging.getLogger("dfedge.store")


class Store:
    """This node's images. Made by `open`; `run` keeps its house, `close` lets the next agent in.

    Signatures are verified by others, before `begin` and `commit`.
    """

    def __init__(self, layout: Layout, lock: StateLock, limits: Limits, now: Callable[[], float]) -> None:
        """`open` is the way to make one."""
        self._layout = layout
        self._lock = lock
        self._catalogue = Catalogue(layout, now)
        self._partials: dict[ImageId, PartialImage] = {}
        self._health = Health(layout.state, self._in_doubt, self._tidy)
        self._housekeeping = Housekeeping(self._partials.values, self._catalogue.write_uses, self._health)
        self._shared = Shared(
            layout, Descriptors(), Workers(), anyio.CapacityLimiter(LONG_JOBS), self._health.fail,
            self._housekeeping.wake,
            self._completed, self._demoted, self._sharers, self._lost, self._rotted, anyio.Lock(),
        )  # fmt: skip
        self._clearing = Clearing(
            self._shared, self._catalogue, limits, self._why_in_use, self._staged, self._dropped,
        )  # fmt: skip
        self._admission = anyio.Lock()  # what needs room, and what makes it, one at a time
        self._contents: WeakValueDictionary[ImageId, Content] = WeakValueDictionary()
        self._held: WeakValueDictionary[ImageId, HeldImage] = WeakValueDictionary()
        self._recent: OrderedDict[ImageId, HeldImage] = OrderedDict()
        self._held_bytes: dict[ImageId, int] = {}  # of partial images, as last seen
        self._stages: set[Stage] = set()
        self._leases: dict[ImageId, Counter[str]] = {}
        self._damages = Damages(layout, now, self.fault, self._health.fail)
        self.scrubber = Scrubber(
            layout.scrub, now, lambda: list(self._catalogue.rows), self._peek, self._is_first, self.fault,
        )  # fmt: skip
        self.sticks = Sticks()
        self._usage: Usage | None = None
        self._make_durable()
        self._look_at_partials()

    @classmethod
    def open(
        cls,
        state_dir: Path,
        quota: int | None,
        keep_free: int,
        now: Callable[[], float],
        watermarks: Watermarks = USUAL,
    ) -> "Store":
        """Open the store, and clear away what a killed agent left half done.

        `quota` is the most it may hold and `keep_free` what it leaves on the disk, in bytes; `now` tells seconds since
        1970. Raises Busy where another agent has it, Refused where the folder is not ours alone, NoSpace, Corrupt.
        """
        layout = Layout(state_dir)
        try:
            layout.prepare()
            lock = StateLock.acquire(layout.lock)
            try:
                return cls(layout, lock, Limits(quota, keep_free, watermarks), now)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise disk_fault(state_dir, "can't be opened", error) from error

    def rest(self) -> None:
        """Nothing is transferred now: close the files that were kept open for it."""
        self._shared.files.rest()

    def work_at_once(self, threads: int) -> None:
        """Hash and write pieces in so many threads from now on, one or all."""
        self._shared.workers.at_once = threads

    def _make_durable(self) -> None:
        """What a killed agent renamed and did not sync must not go in a power cut, now that we build on it."""
        try:
            self._layout.sync()
        except OSError as error:
            self.fault("can't be synced", error)

    def _look_at_partials(self) -> None:
        for row in list(self._catalogue.rows.values()):
            if row.image in self._catalogue.damaged:
                self._damages.mark(row.image)
                log.error("files gone image=%s", row.label)
            if not row.complete:
                self._readable(row.image)

    def _in_doubt(self) -> bool:
        return any(partial.in_doubt for partial in self._partials.values())

    async def _tidy(self) -> None:
        """Clear away what a failing disk kept, and do what it refused."""
        self._damages.mark_again()
        for content in list(self._contents.values()):
            if content.rotten:
                with suppress(DfedgeError):
                    await self.open_image(content.image).spoil(())
        async with self._admission:  # so nothing is half published or half removed
            try:
                left = self._catalogue.leftovers({stage.name for stage in self._stages})
                await self._shared.work(sweep, left)
            except OSError as error:
                self.fault("can't be cleared", error)

    def fault(self, doing: str, error: OSError) -> DfedgeError:
        """Note that the disk failed; returns what a user is told."""
        return self._shared.fault(Path(error.filename or self._layout.state), doing, error)

    async def run(self) -> None:
        """Keep house until cancelled: end windows in time, write uses down."""
        try:
            await self._housekeeping.run()
        finally:
            with anyio.CancelScope(shield=True):
                for partial in list(self._partials.values()):
                    await partial.flush()

    def close(self) -> None:
        """Close all files and let the next agent in. What is not flushed is hashed again at the next start."""
        self._catalogue.close()
        self._shared.workers.close()
        self._shared.files.close()
        self._lock.release()

    @property
    def degraded(self) -> str | None:
        """Why this disk is not to be relied on; none where it is."""
        return self._health.reason

    def usage(self) -> Usage:
        """What the disk and the store hold and may hold; as last seen where the disk doesn't tell. Raises Corrupt."""
        try:
            self._usage = self._clearing.usage()
        except OSError as error:
            fault = self.fault("can't be read", error)
            if self._usage is None:
                raise fault from error
        return self._usage

    def images(self) -> list[StoredImage]:
        """All images that are here, whole or in part, by name and version."""
        return sorted(
            (
                StoredImage(
                    row.image, row.name, row.version, row.created, row.size, self._bytes_of(row.image, row.size),
                    row.complete, row.pinned, row.signer, row.last_used,
                )
                for row in self._catalogue.rows.values()
            ),
            key=lambda one: (one.name, one.created, one.version),
        )  # fmt: skip

    def _bytes_of(self, image: ImageId, size: int) -> int:
        content = self._contents.get(image)
        if content is not None:
            self._held_bytes[image] = content.held_bytes
            return content.held_bytes
        return size if self._catalogue.rows[image].complete else self._held_bytes.get(image, 0)

    def manifest_files(self, image: ImageId) -> tuple[bytes, bytes] | None:
        """The manifest's bytes and its signature file; none where the image is not here. Raises Busy, Corrupt."""
        found = self._read(image) if image in self._catalogue.rows else None
        return found[1:] if found else None

    def _read(self, image: ImageId) -> tuple[Manifest, bytes, bytes] | None:
        try:
            return self._catalogue.shelf.read(image)
        except OSError as error:
            raise self.fault("can't be read", error) from error

    def manifest(self, image: ImageId) -> Manifest:
        """What an image is. Raises NotFound; Busy or Corrupt where it can't be read just now."""
        found = self._read(self._known(image))
        if found is None:
            self._catalogue.drop(image)
            raise NotFound(f"{short_digest(image)}: its manifest has rotted on this disk", hint="dfedge ls")
        return found[0]

    def _known(self, image: ImageId) -> ImageId:
        if image not in self._catalogue.rows:
            raise NotFound(f"{short_digest(image)}: is not in this store", hint="dfedge ls")
        return image

    def open_image(self, image: ImageId) -> HeldImage:
        """The image as all see it who read it: one object, as long as anybody has it.

        Raises NotFound; Busy or Corrupt where it can't be read just now.
        """
        try:
            held = self._door(image)
        except OSError as error:
            raise self.fault("can't be read", error) from error
        self._remember(image, held)
        self._use(image)
        return held

    def _remember(self, image: ImageId, held: HeldImage) -> None:
        self._recent[image] = held
        self._recent.move_to_end(image)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _door(self, image: ImageId) -> HeldImage:
        held: HeldImage | None = self._partials.get(image) or self._held.get(image)
        if held is None:
            held = self._held[image] = HeldImage(self._content(image))
        return held

    def _content(self, image: ImageId) -> Content:
        content = self._contents.get(image)
        if content is None:
            content = self._contents[image] = Content(self.manifest(image), image, self._shared)
            was_whole = self._catalogue.rows[image].complete
            self._catalogue.set_complete(image, content.complete)
            self._held_bytes[image] = content.held_bytes
            if was_whole and not content.complete:
                self._miss(content)
        return content

    @told("can't be written")
    async def begin(self, manifest: Manifest, raw: bytes, signature: bytes, signer: str) -> PartialImage:
        """Begin or resume the fetch of an image; `raw` is its manifest as signed. One object per image.

        Raises Refused where its name and version are taken, NoSpace before anything is written, Corrupt. Take a lease
        first, or the image may be evicted for another.
        """
        image = image_id(raw)
        async with self._admission:
            running = self._partials.get(image)
            if running is not None and not running.stopped and not await self._shared.work(running.yet_to_take):
                return running
            self._catalogue.refuse_other(image, manifest, signer)
            content = self._contents.get(image) or Content(manifest, image, self._shared)
            await self._admit(content)
            if running is not None:
                running.stopped = ""
                return running
            partial = PartialImage(content)
            known = image in self._catalogue.rows
            try:
                if not known:
                    await self._shared.work(self._catalogue.shelf.write, image, raw, signature, signer)
                    self._catalogue.add(image, manifest, signer)
                await partial.open()
            except BaseException as error:
                if not known:
                    with anyio.CancelScope(shield=True):
                        await self._take_back(image)
                if isinstance(error, OSError):
                    raise self._shared.fault(self._layout.manifests, "can't be written", error) from error
                raise
            self._contents[image] = content
            self._catalogue.set_complete(image, content.complete)
            if not content.complete:
                self._partials[image] = partial
            self._use(image)
            return partial

    async def _admit(self, content: Content) -> None:
        """Make room for what an image has yet to take. Raises NoSpace."""
        missing = [body for body in content.bodies if not (body.whole or content.has_partial_file(body))]
        files = len(missing)
        if not content.journal.exists():
            files += FETCH_FILES
        if content.image not in self._catalogue.rows:
            files += SHELF_FILES
        need = Room(sum(body.size for body in missing), files)
        reuses = [body.digest for body in content.bodies if body.whole]
        label = f"{content.manifest.name}:{content.manifest.version}"
        resumed = await self._shared.work(content.yet_to_take)
        await self._clearing.make_room(label, need, reuses, spare=content.image, resumed=resumed)

    async def _take_back(self, image: ImageId) -> None:
        """Remove what was begun; what a failing disk keeps of it goes at the next start, or with `collect`."""
        try:
            await self._clearing.evict(image)
        except OSError as error:
            self._catalogue.drop(image)
            self.fault("can't be cleared away", error)

    async def _completed(self, image: ImageId) -> None:
        self._catalogue.set_complete(image, True)
        self._damages.forget(image)
        partial = self._partials.pop(image, None)
        if partial is not None:
            self._recent[image] = self._held[image] = partial
        lacking = {row.image for row in self._catalogue.rows.values() if not row.complete}
        for body in self._content(image).bodies if lacking else ():
            for other in self._sharers(image, body.digest):
                if other.image in lacking:
                    await self._adopt(other)

    async def _adopt(self, content: Content) -> None:
        """Let an image that lacks files hold those that are blobs by now."""
        content.adopt_blobs()
        self._held_bytes[content.image] = content.held_bytes
        if content.complete and content.image not in self._partials:  # else its fetch finds that out
            self._catalogue.set_complete(content.image, True)
            async with content.moving:
                await self._shared.work(sweep, (content.folder,))
            self._damages.mended(content.image)

    def _demoted(self, image: ImageId) -> None:
        self._catalogue.set_complete(image, False)

    def _sharers(self, image: ImageId, digest: bytes) -> list[Content]:
        found = []
        for other in self._catalogue.index.images_with(digest):
            if other != image and other in self._catalogue.rows:
                content = self._readable(other)
                if content is not None:
                    found.append(content)
        return found

    def _is_first(self, image: ImageId, digest: bytes) -> bool:
        return min(self._catalogue.index.images_with(digest), default=image) == image

    def _lost(self, image: ImageId, pieces: Collection[int]) -> None:
        content = self._contents.get(image)
        if content is not None:
            self._held_bytes[image] = content.held_bytes
        self.doubt()  # before anybody hears of it, so that nothing slips out meanwhile
        self._damages.lost(image, pieces)

    def doubt(self) -> None:
        """Have every piece of every image hashed again before its next upload."""
        for content in list(self._contents.values()):
            content.doubt()

    def _rotted(self, image: ImageId, path: str, pieces: int) -> None:
        row = self._catalogue.rows.get(image)
        self._damages.rotted(image, row.label if row else short_digest(image), path, pieces)

    def _miss(self, content: Content) -> None:
        """A file of an image that was whole is gone, or has another size."""
        self._damages.mark(content.image)
        for body in content.bodies:
            if not body.whole:
                self._rotted(content.image, body.label, sum(piece not in content.holds for piece in body.pieces()))

    def watch(self, watcher: RotWatcher) -> None:
        """Have somebody told of what rots, on the event loop, as long as the store is open."""
        self._damages.watch(watcher)

    def spoilt(self) -> dict[ImageId, float]:
        """Images that were whole here until some of them rotted, and since when, in seconds since 1970."""
        return self._damages.since(row.image for row in self._catalogue.rows.values() if not row.complete)

    def _peek(self, image: ImageId) -> tuple[HeldImage, Content] | None:
        """An image to read it over; that is no use of it. None where its manifest can't be read."""
        content = self._readable(image)
        return (self._door(image), content) if content is not None else None

    def _readable(self, image: ImageId) -> Content | None:
        """What is held of an image; none where its manifest has rotted or can't be read just now."""
        try:
            return self._content(image)
        except OSError as error:
            self.fault("can't be read", error)
        except DfedgeError:
            pass
        return None

    @told("can't be written")
    async def stage(self, total_bytes: int, files: int = 1) -> Stage:
        """Begin to take in files of about `total_bytes` to be published. Raises NoSpace before anything is written."""
        async with self._admission:
            await self._clearing.make_room("what is published", Room(total_bytes, files + 1 + SHELF_FILES))
            folder = self._layout.partial / (STAGE_PREFIX + secrets.token_hex(8))
            folder.mkdir(mode=0o700)
            stage = Stage(folder, total_bytes, self._shared, self._grow, self._commit, self._stages.discard, files)
            self._stages.add(stage)
            return stage

    @told("can't be written")
    async def _grow(self, nbytes: int) -> None:
        async with self._admission:
            await self._clearing.make_room("what is published", Room(nbytes))

    def _staged(self) -> Room:
        return sum((Room(stage.outstanding, stage.files_to_come) for stage in self._stages), NOTHING)

    async def _commit(self, stage: Stage, manifest: Manifest, raw: bytes, signature: bytes, signer: str) -> None:
        image = image_id(raw)
        async with self._admission:
            self._catalogue.refuse_other(image, manifest, signer)
            check_all_there(stage, manifest, self._shared)
            with anyio.CancelScope(shield=True):
                known = image in self._catalogue.rows
                try:
                    await self._shared.work(stage.install)
                    await self._shared.work(sync_folder, self._layout.blobs)
                    if not known:
                        await self._shared.work(self._catalogue.shelf.write, image, raw, signature, signer)
                        self._catalogue.add(image, manifest, signer)
                except OSError as error:
                    fault = self._shared.fault(self._layout.blobs, "can't be written", error)
                    if not known:
                        await self._take_back(image)
                        await self._unused(stage.installed)
                    raise fault from error
                content = self._content(image)
                content.adopt_blobs()
                content.trust(stage.installed)
                self._catalogue.set_complete(image, content.complete)
                self._remember(image, self._door(image))  # and with it what is proven: it will soon be asked for

    async def _unused(self, digests: Collection[bytes]) -> None:
        """Remove blobs that came with a publishing which failed, unless an image has them by now."""
        unused = [digest for digest in digests if not self._catalogue.index.images_with(digest)]
        with suppress(OSError):
            for digest in unused:
                await self._shared.work(self._layout.blob(digest).unlink)

    @told("can't be removed")
    async def remove(self, image: ImageId) -> int:
        """Remove an image; returns the bytes freed. Raises NotFound, or Refused if it is pinned or in use."""
        async with self._admission:
            return await self._clearing.remove(image)

    def _dropped(self, image: ImageId) -> None:
        content = self._contents.pop(image, None)
        if content is not None:
            content.lose(list(content.holds))
        for known in (self._partials, self._held, self._recent, self._held_bytes):
            known.pop(image, None)
        self._damages.forget(image)

    async def pin(self, image: ImageId) -> None:
        """Keep an image from eviction and removal. Raises NotFound."""
        await self._set_pin(image, True)

    async def unpin(self, image: ImageId) -> None:
        """Let an image be evicted again. Raises NotFound."""
        await self._set_pin(image, False)

    @told("can't be written")
    async def _set_pin(self, image: ImageId, pinned: bool) -> None:
        async with self._admission:
            if self._catalogue.rows[self._known(image)].pinned != pinned:
                await self._shared.work(self._catalogue.shelf.set_pin, image, pinned)
                self._catalogue.set_pin(image, pinned)

    @contextmanager
    def lease(self, image: ImageId, why: str = "being served") -> Iterator[None]:
        """Use an image for the time of the block: it is neither evicted nor removed. It need not be here yet.

        `why` is told to users: "being fetched", "running", "followed".
        """
        reasons = self._leases.setdefault(image, Counter())
        reasons[why] += 1
        try:
            yield
        finally:
            reasons[why] -= 1
            if not reasons.total():
                self._leases.pop(image, None)

    def in_use(self, image: ImageId) -> bool:
        """Whether anybody has a lease on it."""
        return image in self._leases

    def _why_in_use(self, image: ImageId) -> str:
        return next((why for why, count in self._leases.get(image, Counter()).items() if count), "")

    @told("can't be cleared")
    async def collect(self, dry_run: bool) -> Cleared:
        """Remove what belongs to no image, and evict until quota and keep_free hold; returns what goes and why."""
        async with self._admission:
            return await self._clearing.collect(dry_run)

    @told("can't be cleared")
    async def relieve(self) -> tuple[Eviction, ...]:
        """Give back what others need of the disk; returns what went. To be called every few seconds.

        What then is still short stops the fetches that would take more of the disk: `PartialImage.put` raises NoSpace
        until there is room again and the fetch is begun anew.
        """
        async with self._admission:
            gone = await self._clearing.relieve()
            if self.shortage:
                for partial in self._partials.values():
                    if await self._shared.work(partial.yet_to_take):
                        partial.stopped = self.shortage
            return gone

    @property
    def shortage(self) -> str:
        """What room lacks though all was given back that may go; empty where none does."""
        return self._clearing.shortage

    @property
    def evicted(self) -> Evicted:
        """What went since the start."""
        return self._clearing.evicted

    @told("can't be read")
    async def verify(self, image: ImageId | None, on_progress: Progress = lambda _done, _total: None) -> VerifyReport:
        """Hash all held pieces of an image, or of every one, from disk; what has rotted leaves its map at once."""
        wanted = list(self._catalogue.rows) if image is None else [image]
        return await verify(wanted, self.open_image, self._shared.workers, on_progress)

    @told("can't be read")
    async def output(self, image: ImageId, file_index: int, fd: int) -> None:
        """Write a whole file of an image into an open descriptor, and sync it. Every piece is proven by then.

        Raises NotFound, Refused where the file is not whole here, Corrupt where it has rotted, NoSpace.
        """
        with self.lease(image, "being written out"):
            held, content = self.open_image(image), self._content(image)
            entry = content.manifest.files[file_index]
            body = content.body_of(entry.digest)
            if body is None or not body.whole:
                raise Refused(
                    f"{content}: {entry.path!r} is not whole here", hint=f"dfedge get {content.manifest.name}"
                )
            first = content.manifest.first_pieces[file_index]
            for piece in range(first, first + entry.pieces):
                if not await held.prove(piece):
                    raise Corrupt(f"{content}: piece {piece} has rotted on this disk", hint="dfedge verify")
            try:
                with content.borrow(body) as source:
                    await self._shared.work(copy_out, source, fd, entry.size)
            except OSError as error:
                raise disk_fault(Path(entry.path), "can't be written out", error) from error

    def rebuild_index(self) -> None:
        """Throw the index away and read it back from the files."""
        self._catalogue.rebuild()
        self._look_at_partials()

    def _use(self, image: ImageId) -> None:
        if self._catalogue.used(image):
            self._housekeeping.note_use()
