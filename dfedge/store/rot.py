"""What has rotted on disk leaves the images that have it, and nothing else does.

A rotten file leaves the blobs and becomes a partial file of its image, so that a fetch mends just what is bad. Images
that share the file get a second name for it, and lack what overlaps the bad bytes; whichever is mended first mends all.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from dfedge.core.errors import Refused
from dfedge.store.body import Body
from dfedge.store.content import Content
from dfedge.store.fault import is_medium
from dfedge.store.layout import make_own_folder, sync_folder


@dataclass(frozen=True, slots=True)
class _Share:
    """A file as one image has it."""

    content: Content
    body: Body


async def spoil(content: Content, pieces: Collection[int]) -> None:
    """Carry through that pieces, which have left the map, are rotten. `Shared.spoiling` is held.

    Raises OSError; to do it again then does what is left.
    """
    rotten: dict[Body, list[int]] = {}
    for piece in sorted(pieces):
        rotten.setdefault(content.body(content.manifest.piece(piece)), []).append(piece)
    shares: dict[Body, list[_Share]] = {}
    async with content.moving:
        for body, lost in rotten.items():
            await content.shared.work(body.prefix.restart)  # not here: a worker may be hashing it
            if body.whole:
                if await content.shared.work(_is_sound, content, body):
                    continue  # it is what its name says, so the manifest contradicts itself
                shares[body] = await _take_back(content, body)
            else:
                shares[body] = await content.shared.work(_in_one_place, content, body, _sharers(content, body))
            _lose(content, body, _ranges(content, lost))
        if content.journal.exists():
            await content.shared.work(content.journal.rewrite, list(content.durable))
    for body, others in shares.items():
        content.shared.rotted(content.image, body.label, len(rotten[body]))
        bad = _ranges(content, rotten[body])
        for other in others:
            await _spread(other, bad)


async def _take_back(content: Content, body: Body) -> list[_Share]:
    """Make a blob a partial file of this image and of all that share it; returns those."""
    others = [share for share in _sharers(content, body) if share.body.whole]
    linked = await content.shared.work(_demote, content, body, others)
    for share in (_Share(content, body), *others):
        share.body.whole = False
        if linked is None or (share.content is not content and share not in linked):
            gone = set(share.body.pieces())
            share.content.lose(gone)
            share.content.shared.lost(share.content.image, gone)
        for piece in share.body.pieces():
            if piece in share.content.holds:
                share.content.durable.add(piece)
        content.shared.demoted(share.content.image)
    await content.shared.work(_sync, content)
    return others


def _sharers(content: Content, body: Body) -> list[_Share]:
    found = []
    for other in content.shared.sharers(content.image, body.digest):
        theirs = other.body_of(body.digest)
        if theirs is not None and theirs.size == body.size:
            found.append(_Share(other, theirs))
    return found


def _in_one_place(content: Content, body: Body, others: Iterable[_Share]) -> list[_Share]:
    """Those whose partial file is this one under a second name."""
    mine = content.partial_file(body)
    found = []
    for share in others:
        with suppress(FileNotFoundError):
            if not share.body.whole and share.content.partial_file(share.body).samefile(mine):
                found.append(share)
    return found


def _ranges(content: Content, pieces: Iterable[int]) -> list[tuple[int, int]]:
    """Where rotten pieces lie in their file, (start, end), in order and joined."""
    found: list[tuple[int, int]] = []
    for where in sorted(content.manifest.piece(piece)[1:3] for piece in pieces):
        start, end = where[0], where[0] + where[1]
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


async def _spread(share: _Share, bad: list[tuple[int, int]]) -> None:
    """Let another image lack what overlaps the rotten bytes of the file that it shares."""
    content, body = share.content, share.body
    lost = _lose(content, body, bad)
    async with content.moving:
        await content.shared.work(body.prefix.restart)
        if content.folder.exists():
            await content.shared.work(content.journal.rewrite, list(content.durable))
    lost = lost or sum(piece not in content.holds for piece in body.pieces())  # all of it, where it has no name for it
    content.shared.rotted(content.image, body.label, lost)


def _lose(content: Content, body: Body, bad: list[tuple[int, int]]) -> int:
    """Take what overlaps the rotten bytes of a file out of the map, however it is cut; returns how many pieces."""
    cut = (piece for copy in body.copies for piece in _overlapping(content, copy, bad))
    gone = {piece for piece in cut if piece in content.holds}
    if gone:
        content.lose(gone)
        content.shared.lost(content.image, gone)
    return len(gone)


def _overlapping(content: Content, pieces: range, bad: list[tuple[int, int]]) -> Iterable[int]:
    at = 0
    for piece in pieces:
        _, offset, length, _ = content.manifest.piece(piece)
        while at < len(bad) and bad[at][1] <= offset:
            at += 1
        if at < len(bad) and bad[at][0] < offset + length:
            yield piece


def _is_sound(content: Content, body: Body) -> bool:
    """Whether a blob is what its name says. Raises OSError where that can't be told."""
    try:
        with content.borrow(body) as fd:
            return body.matches(fd)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or is_medium(error):
            return False
        raise
    finally:
        body.prefix.restart()


def _demote(content: Content, body: Body, others: list[_Share]) -> list[_Share] | None:
    """Move a blob back; returns who else has a name for it now, none if it is gone."""
    blob = content.shared.layout.blob(body.digest)
    linked: list[_Share] = []
    _make_folder(content)
    if not content.journal.exists():
        content.journal.rewrite(())
    try:
        blob.chmod(0o600)
        linked += [share for share in others if _link(blob, share)]
        blob.rename(content.partial_file(body))
    except FileNotFoundError:  # somebody removed it by hand; there is nothing to keep
        return None
    finally:
        content.shared.files.forget(blob)
    return linked


def _sync(content: Content) -> None:
    for folder in (content.folder, content.shared.layout.partial, content.shared.layout.blobs):
        sync_folder(folder)


def _link(blob: os.PathLike[str], share: _Share) -> bool:
    """Give another image a name for the file; not every file system can."""
    try:
        _make_folder(share.content)
        place = share.content.partial_file(share.body)
        place.unlink(missing_ok=True)
        os.link(blob, place)
        if not share.content.journal.exists():
            share.content.journal.rewrite(())
    except (OSError, Refused):
        return False
    return True


def _make_folder(content: Content) -> None:
    """Make the folder of a partial image, and say there that the image was whole, if it was."""
    make_own_folder(content.folder)
    if content.complete:
        content.mark.touch(0o600)
