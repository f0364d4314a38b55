"""What a disk may look like after a crash: everything that was synced, and any part of what was not.

The rules are those of POSIX, which are looser than any one file system: bytes are sure after an fsync of their file,
names after an fsync of their folder; what is not sure may be there, may be missing, and may be there in part, sector
by sector and in any order. A rename is one step: it happened or it did not, and it is sure once the folder of the new
name is synced. A killed process is the other end: everything it did is there.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from .recorder import ROOT, Make, Mark, Op, Remove, Rename, Resize, Sync, Write

SECTOR: Final = 512  # bytes that a disk writes at once

NameOp = Make | Rename | Remove
DataOp = Write | Resize
T = TypeVar("T")


class Cut(Enum):
    """Which of the unsynced things are there."""

    KILLED = "all, as after kill -9"
    NOTHING = "none"
    NAMES = "names, but no bytes"
    BYTES = "bytes, but no names"
    ANY = "some, whole or torn"


@dataclass(slots=True)
class _File:
    data: bytearray = field(default_factory=bytearray)  # synced
    pending: list[tuple[int, DataOp]] = field(default_factory=list)


class Disk:
    """The watched folder as the operations change it, one after the other."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[int, dict[str, int]] = {ROOT: {}}  # synced; by the folder's inode
        self._pending: list[tuple[int, NameOp]] = []

    def take(self, number: int, op: Op) -> None:
        """Do operation number `number`."""
        match op:
            case Make(_, _, inode, is_folder):
                if is_folder:
                    self._names[inode] = {}
                else:
                    self._files[inode] = _File()
                self._pending.append((number, op))
            case Rename() | Remove():
                self._pending.append((number, op))
            case Write(inode) | Resize(inode):
                self._files[inode].pending.append((number, op))
            case Sync(inode, before) if inode in self._files:
                file = self._files[inode]
                for at, data_op in file.pending:
                    if at < before:
                        _change(file.data, data_op)
                file.pending = [(at, data_op) for at, data_op in file.pending if at >= before]
            case Sync(inode, before):
                for at, name_op in self._pending:
                    if at < before and _sure_with(name_op, inode):
                        _name(self._names, name_op)
                self._pending = [
                    (at, name_op) for at, name_op in self._pending if at >= before or not _sure_with(name_op, inode)
                ]
            case Mark():
                pass

    def after(self, cut: Cut, rng: random.Random) -> dict[Path, bytes | None]:
        """The tree that is found after a crash: bytes of files, none for folders."""
        names = {inode: dict(inside) for inode, inside in self._names.items()}
        for op in _chosen([op for _, op in self._pending], cut, rng, cut in {Cut.KILLED, Cut.NAMES}):
            _name(names, op)
        tree: dict[Path, bytes | None] = {}

        def walk(inode: int, at: Path) -> None:
            for name, inside in sorted(names[inode].items()):
                if inside in names:
                    tree[at / name] = None
                    walk(inside, at / name)
                else:
                    tree[at / name] = self._data(self._files[inside], cut, rng)

        walk(ROOT, Path())
        return tree

    def _data(self, file: _File, cut: Cut, rng: random.Random) -> bytes:
        data = bytearray(file.data)
        for op in _chosen([op for _, op in file.pending], cut, rng, cut in {Cut.KILLED, Cut.BYTES}):
            if cut is Cut.ANY and isinstance(op, Write) and rng.random() < 0.5:
                _tear(data, op, rng)
            else:
                _change(data, op)
        return bytes(data)


def _chosen(ops: Sequence[T], cut: Cut, rng: random.Random, every: bool) -> Sequence[T]:
    """All or none; at random the first few, as journalling file systems keep them, or any, as others may."""
    if cut is not Cut.ANY:
        return ops if every else ()
    if rng.random() < 0.5:
        return ops[: rng.randint(0, len(ops))]
    return [op for op in ops if rng.random() < 0.5]


def killed(ops: Sequence[Op]) -> dict[Path, bytes | None]:
    """The tree after kill -9: all that was done."""
    disk = Disk()
    for number, op in enumerate(ops):
        disk.take(number, op)
    return disk.after(Cut.KILLED, random.Random(0))


def cuts(
    ops: Sequence[Op], seed: int, torn: int, first: int = 0
) -> Iterator[tuple[int, list[str], Cut, dict[Path, bytes | None]]]:
    """Every different tree that a crash may leave, after each of the operations from number `first` on.

    Yields (operations done, what the process had said by then, how it was cut, the tree); of torn ones `torn` each.
    """
    disk, said = Disk(), list[str]()
    seen: set[bytes] = set()
    for number, op in enumerate(ops):
        disk.take(number, op)
        if isinstance(op, Mark):
            said.append(op.text)
        if number < first:
            continue
        for cut in (*(cut for cut in Cut if cut is not Cut.ANY), *(Cut.ANY,) * torn):
            tree = disk.after(cut, random.Random(f"{seed} {number} {len(seen)}"))
            key = _key(tree, len(said))
            if key not in seen:
                seen.add(key)
                yield number + 1, list(said), cut, tree


def build(tree: dict[Path, bytes | None], folder: Path) -> None:
    """Write a tree to a new folder."""
    folder.mkdir(mode=0o700)
    for path, data in tree.items():
        if data is None:
            (folder / path).mkdir(mode=0o700)
        else:
            (folder / path).write_bytes(data)


def _key(tree: dict[Path, bytes | None], said: int) -> bytes:
    digest = sha256(str(said).encode())
    for path, data in tree.items():
        digest.update(f"{path} {data is None} {len(data or b'')}\n".encode() + (data or b""))
    return digest.digest()


def _sure_with(op: NameOp, folder: int) -> bool:
    return (op.to_folder if isinstance(op, Rename) else op.folder) == folder


def _name(names: dict[int, dict[str, int]], op: NameOp) -> None:
    match op:
        case Make(folder, name, inode):
            names[folder][name] = inode
        case Remove(folder, name):
            names[folder].pop(name, None)
        case Rename(folder, name, to_folder, to_name, inode):
            if names[folder].get(name) == inode:
                del names[folder][name]
            names[to_folder][to_name] = inode


def _change(data: bytearray, op: DataOp) -> None:
    end = op.offset + len(op.data) if isinstance(op, Write) else op.size
    if isinstance(op, Resize) and not op.only_grow:
        del data[op.size :]
    data.extend(bytes(max(0, end - len(data))))
    if isinstance(op, Write):
        data[op.offset : end] = op.data


def _tear(data: bytearray, op: Write, rng: random.Random) -> None:
    """Write some of the sectors."""
    at = op.offset
    while at < op.offset + len(op.data):
        end = min(op.offset + len(op.data), at - at % SECTOR + SECTOR)
        if rng.random() < 0.5:
            _change(data, Write(op.inode, at, op.data[at - op.offset : end - op.offset]))
        at = end
