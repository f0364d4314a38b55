"""The hash of a whole file as it arrives: right in any order, and what is at hand is not read from disk."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.seams import Bytes
from dfedge.store.prefix import AHEAD, Prefix

PIECE = 1000


class Disk:
    """What was written of a file, and what was read of it again."""

    def __init__(self, pieces: int) -> None:
        self.data = [bytes([piece % 256]) * PIECE for piece in range(pieces)]
        self.written: set[int] = set()
        self.read: list[int] = []

    def __call__(self, piece: int) -> Sequence[Bytes] | None:
        if piece not in self.written:
            return None
        self.read.append(piece)
        return [self.data[piece]]

    def rest(self, offset: int) -> Iterator[bytes]:
        yield b"".join(self.data)[offset:]

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(b"".join(self.data)).digest()


def _held_up(prefix: Prefix, data: bytes) -> tuple[threading.Thread, threading.Event]:
    """Somebody who hashes the first piece until the event is set."""
    begun, go = threading.Event(), threading.Event()

    def blocks() -> Iterator[bytes]:
        begun.set()
        assert go.wait(10)
        yield data

    class Blocks(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            return blocks()

    thread = threading.Thread(target=prefix.extend, args=(0, Blocks([data]), lambda _piece: None))
    thread.start()
    assert begun.wait(10)
    return thread, go


@given(st.permutations(range(12)))
def test_pieces_in_any_order_give_the_hash_of_the_file(order: list[int]) -> None:
    disk, prefix = Disk(12), Prefix()
    for piece in order:
        prefix.extend(piece, [disk.data[piece]], disk)
        disk.written.add(piece)
    assert prefix.digest(disk.rest) == disk.digest
    assert prefix.nbytes == 12 * PIECE


def test_workers_at_once_give_the_hash_of_the_file() -> None:
    disk, prefix = Disk(200), Prefix()

    def put(piece: int) -> None:
        prefix.extend(piece, [disk.data[piece]], disk)
        disk.written.add(piece)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(put, range(200)))
    assert prefix.digest(disk.rest) == disk.digest


def test_a_piece_that_came_while_another_was_hashed_is_not_read_from_disk_again() -> None:
    disk, prefix = Disk(3), Prefix()
    thread, go = _held_up(prefix, disk.data[0])
    prefix.extend(1, [disk.data[1]], disk)
    disk.written.update((0, 1))
    go.set()
    thread.join(10)
    prefix.extend(2, [disk.data[2]], disk)
    assert (disk.read, prefix.pieces) == ([], 3)
    assert prefix.digest(disk.rest) == disk.digest


def test_pieces_far_ahead_or_large_are_not_kept_in_memory() -> None:
    disk, prefix = Disk(100), Prefix()
    disk.data[2] = bytes(AHEAD + 1)
    thread, go = _held_up(prefix, disk.data[0])
    for piece in (1, 2, 50):
        prefix.extend(piece, [disk.data[piece]], disk)
        disk.written.add(piece)
    go.set()
    thread.join(10)
    prefix.extend(99, [disk.data[99]], disk)
    assert disk.read == [2]
    assert prefix.digest(disk.rest) == disk.digest


def test_a_hash_that_is_forgotten_begins_anew() -> None:
    disk, prefix = Disk(3), Prefix()
    thread, go = _held_up(prefix, b"rotten")
    prefix.extend(1, [b"rotten too"], disk)
    go.set()
    thread.join(10)
    prefix.restart()
    for piece in range(3):
        prefix.extend(piece, [disk.data[piece]], disk)
    assert prefix.digest(disk.rest) == disk.digest
