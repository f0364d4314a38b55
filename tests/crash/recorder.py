"""What a real process did to its disk, call by call: strace's record, read into the operations that a crash can undo.

Nothing is put between the program and the kernel, so SQLite's calls and those of the C library are in it too.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = 0  # the inode of the folder that is watched; it is there before the record begins
CALLS: Final = (
    "open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,renameat,"
    "renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,fsync,fdatasync,sync,syncfs,"
    "copy_file_range,sendfile,ioctl,sendto,sendmsg"
)
_LINE: Final = re.compile(r"^(\d+) +(.*)$", re.DOTALL)
_RESUMED: Final = re.compile(r"^<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
_CALL: Final = re.compile(r"^(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True, slots=True)
class Make:
    """A name for a new inode."""

    folder: int
    name: str
    inode: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Rename:
    """A name moved, over whatever had the new one."""

    folder: int
    name: str
    to_folder: int
    to_name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Remove:
    """A name taken away."""

    folder: int
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A length set; it may only grow where space is preallocated."""

    inode: int
    size: int
    only_grow: bool = False


@dataclass(frozen=True, slots=True)
class Sync:
    """fsync of a file or a folder; it makes durable what was done to it before operation number `before`."""

    inode: int
    before: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What the process said it had done."""

    text: str


Op = Make | Rename | Remove | Write | Resize | Sync | Mark


def available() -> str:
    """Why nothing can be recorded here; empty if it can."""
    if shutil.which("strace") is None:
        return "no strace"
    done = subprocess.run(["strace", "-f", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "strace may not trace here"


def traced(log: Path, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` and records it in `log`."""
    return ["strace", "-f", "--seccomp-bpf", "-xx", "-s", "4000000", "-o", str(log), "-e", f"trace={CALLS}", *argv]


def record(folder: Path, log: Path, module: str, *args: str, before: Sequence[Op] = ()) -> list[Op]:
    """Run a module of these tests on `folder` to its end; returns what it did there, and its words as marks.

    `before` is what made the folder what it is; it comes first in what is returned.
    """
    command = traced(log, [sys.executable, "-m", module, str(folder), *args])
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return read(folder, log, before)


def existing(folder: Path) -> list[Op]:
    """What makes an empty folder what this one is, for good."""
    reader = _Reader(folder)
    for path in sorted(folder.rglob("*")):
        place = reader.place(path)
        assert place is not None
        if path.is_dir():
            reader.make(place, is_folder=True)
        elif path.is_file():
            inode = reader.make(place, is_folder=False)
            reader.ops += [Write(inode, 0, path.read_bytes()), Sync(inode, len(reader.ops) + 1)]
    for inode in reader.folders:
        reader.ops.append(Sync(inode, len(reader.ops)))
    return reader.ops


def read(folder: Path, log: Path, before: Sequence[Op] = ()) -> list[Op]:
    """Read a record: what was done under `folder`, and as marks what was said on descriptor 1 or sent."""
    reader = _Reader(folder)
    reader.believe(before)
    lines = log.read_text(encoding="ascii").splitlines()
    for start, name, args, result in _calls(lines, reader):
        reader.take(name, args, result, start)
    return reader.ops


def _calls(lines: Iterable[str], reader: "_Reader") -> Iterator[tuple[int, str, str, int]]:
    """Each call that succeeded when it ended: how many operations there were when it began, name, arguments, result."""
    begun: dict[str, tuple[int, str]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, text = match[1], match[2]
        start = len(reader.ops)
        if text.endswith("<unfinished ...>"):
            begun[pid] = (start, text.removesuffix("<unfinished ...>").rstrip())
            continue
        resumed = _RESUMED.match(text)
        if resumed is not None and pid in begun:
            start, head = begun.pop(pid)
            text = head + resumed[1]
        call = _CALL.match(text)
        if call is not None and int(call[3]) >= 0:
            yield start, call[1], call[2], int(call[3])


@dataclass(slots=True)
class _Reader:
    """Follows descriptors and names, so that each operation is on an inode."""

    folder: Path
    ops: list[Op] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)  # descriptor → inode
    _at: dict[int, int] = field(default_factory=dict)  # descriptor → where a plain write goes
    _append: set[int] = field(default_factory=set)
    _names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    _size: dict[int, int] = field(default_factory=dict)
    _next: int = ROOT + 1

    def take(self, name: str, args: str, result: int, start: int) -> None:
        texts = [bytes.fromhex(found[1].replace("\\x", "")) for found in _TEXT.finditer(args)]
        first = args.split(",", 1)[0].strip()
        fd = int(first) if first.lstrip("-").isdigit() else -100
        numbers = [int(n) for n in re.findall(r"(?<![\w\\])\d+(?!\w)", _TEXT.sub("", args))]
        match name:
            case "open" | "openat" | "creat":
                self._opened(fd, texts[0], args if name != "creat" else "O_CREAT|O_TRUNC", result)
            case "close":
                for known in (self._open, self._at):
                    known.pop(fd, None)
                self._append.discard(fd)
            case "write" | "writev" if fd == 1:
                self.ops += [Mark(line) for line in b"".join(texts).decode().splitlines()]
            case "sendto" | "sendmsg" if len(b"".join(texts)) > 1:  # a byte alone wakes an event loop
                self.ops.append(Mark(b"".join(texts).decode("utf-8", "replace")))
            case "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" if fd in self._open:
                where = {"pwrite64": -1, "pwritev": -1, "pwritev2": -2}.get(name)
                self._wrote(fd, b"".join(texts)[:result], numbers[where] if where else None)
            case "ftruncate" if fd in self._open:
                self._resize(Resize(self._open[fd], numbers[-1]))
            case "fallocate" if fd in self._open:
                self._resize(Resize(self._open[fd], numbers[-2] + numbers[-1], only_grow=True))
            case "fsync" | "fdatasync" if fd in self._open:
                self.ops.append(Sync(self._open[fd], start))
            case "mkdir" | "mkdirat":
                self._make(self._place(fd if name == "mkdirat" else -100, texts[0]), is_folder=True)
            case "unlink" | "rmdir" | "unlinkat":
                self._remove(self._place(fd if name == "unlinkat" else -100, texts[0]))
            case "rename" | "renameat" | "renameat2":
                self._rename(self._place(-100, texts[0]), self._place(-100, texts[1]))
            case "ioctl" | "copy_file_range" | "sendfile" | "link" | "linkat" | "symlink" | "truncate" | "sync":
                assert not self._concerns(fd, texts), f"{name}({args[:200]}) is not modelled"
            case _:
                pass  # a descriptor of something else

    @property
    def folders(self) -> list[int]:
        """The inodes of all folders."""
        return list(self._names)

    def believe(self, ops: Sequence[Op]) -> None:
        """Take what was done before the record began."""
        self.ops = list(ops)
        for op in ops:
            match op:
                case Make(folder, name, inode, is_folder):
                    self._names[folder][name] = inode
                    self._next = max(self._next, inode + 1)
                    if is_folder:
                        self._names[inode] = {}
                case Rename(folder, name, to_folder, to_name, inode):
                    del self._names[folder][name]
                    self._names[to_folder][to_name] = inode
                case Remove(folder, name):
                    del self._names[folder][name]
                case Write(inode, offset, data):
                    self._size[inode] = max(self._size.get(inode, 0), offset + len(data))
                case Resize(inode, size, only_grow):
                    self._size[inode] = max(self._size.get(inode, 0), size) if only_grow else size
                case Sync() | Mark():
                    pass

    def place(self, path: Path) -> tuple[int, str] | None:
        """The folder's inode and the name in it."""
        return self._place(-100, str(path).encode())

    def _concerns(self, fd: int, texts: list[bytes]) -> bool:
        return fd in self._open or any(text.decode("utf-8", "replace").startswith(str(self.folder)) for text in texts)

    def _place(self, fd: int, path: bytes) -> tuple[int, str] | None:
        """The folder's inode and the name in it; none where that is outside."""
        where = Path(path.decode())
        if where.is_absolute():
            if not where.is_relative_to(self.folder):
                return None
            parts, inode = where.relative_to(self.folder).parts, ROOT
        elif fd in self._open and self._open[fd] in self._names:
            parts, inode = where.parts, self._open[fd]
        else:
            return None
        for part in parts[:-1]:
            inode = self._names[inode][part]
        return (inode, parts[-1]) if parts else (ROOT, "")

    def _opened(self, fd: int, path: bytes, flags: str, result: int) -> None:
        place = self._place(fd, path)
        if place is None:
            return
        folder, name = place
        if not name:
            self._open[result] = ROOT
            return
        if name not in self._names[folder]:
            self._make(place, is_folder=False)
        inode = self._open[result] = self._names[folder][name]
        self._at[result] = 0
        if "O_APPEND" in flags:
            self._append.add(result)
        if "O_TRUNC" in flags and self._size.get(inode, 0):
            self._resize(Resize(inode, 0))

    def _make(self, place: tuple[int, str] | None, *, is_folder: bool) -> None:
        if place is not None and place[1]:
            self.make(place, is_folder=is_folder)

    def make(self, place: tuple[int, str], *, is_folder: bool) -> int:
        """Give a new inode a name."""
        inode, self._next = self._next, self._next + 1
        self._names[place[0]][place[1]] = inode
        if is_folder:
            self._names[inode] = {}
        self.ops.append(Make(*place, inode, is_folder))
        return inode

    def _remove(self, place: tuple[int, str] | None) -> None:
        if place is not None and self._names[place[0]].pop(place[1], None) is not None:  # else a socket
            self.ops.append(Remove(*place))

    def _rename(self, old: tuple[int, str] | None, new: tuple[int, str] | None) -> None:
        if old is None or new is None:
            assert old is new is None, "a rename into the folder or out of it is not modelled"
            return
        inode = self._names[old[0]].pop(old[1])
        self._names[new[0]][new[1]] = inode
        self.ops.append(Rename(*old, *new, inode))

    def _wrote(self, fd: int, data: bytes, offset: int | None) -> None:
        inode = self._open[fd]
        if offset is None:
            offset = self._size.get(inode, 0) if fd in self._append else self._at[fd]
            self._at[fd] = offset + len(data)
        self._size[inode] = max(self._size.get(inode, 0), offset + len(data))
        self.ops.append(Write(inode, offset, data))

    def _resize(self, op: Resize) -> None:
        known = self._size.get(op.inode, 0)
        self._size[op.inode] = max(known, op.size) if op.only_grow else op.size
        self.ops.append(op)
