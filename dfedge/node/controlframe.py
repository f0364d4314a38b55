"""How the control socket is found and what is said on it; shared by the agent's side and the command line's.

A frame is a u32 length and a JSON object; descriptors ride on its first byte by SCM_RIGHTS. A client says
{"verb", "params", "fds"}, then {"more", "fds"} as often as it is asked; the agent says {"event"}* and {"ask"}*, and at
the end {"result"} or {"error"}. Then the next verb may follow.
"""

import json
import os
import stat
import struct
from pathlib import Path
from typing import Final

from dfedge.core.errors import Refused

SOCKET: Final = "control.sock"
MAX_FRAME: Final = 24 * 1024 * 1024  # bytes; the largest manifest, 16 MiB, in base64
MAX_FDS: Final = 16  # descriptors with one frame
HEADER: Final = struct.Struct(">I")

Document = dict[str, object]


def encode(document: Document) -> bytes:
    """Spell a frame. Raises Refused over the limit."""
    body = json.dumps(document, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME:
        raise Refused(f"control: a message of {len(body):,} bytes, the most is {MAX_FRAME:,}")
    return HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Read a header. Raises ValueError over the limit."""
    length: int = HEADER.unpack(header)[0]
    if length > MAX_FRAME:
        raise ValueError(f"a message of {length:,} bytes, the most is {MAX_FRAME:,}")
    return length


def decode(body: bytes) -> Document:
    """Read a frame's body. Raises ValueError, and nothing else."""
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def open_folder(runtime_dir: Path, *, ours: bool = False) -> int:
    """Open the folder of the control socket, for a path that fits in the 108 bytes of a socket address.

    Raises FileNotFoundError, and Refused when the folder is a link, is somebody else's, or others may write in it.
    Where we do not insist on `ours`, root's is good too, and root may go anywhere.
    """
    try:
        folder = os.open(runtime_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise Refused(f"{runtime_dir}: it is a link or a file, the control socket needs a folder of its own") from None
    except PermissionError:
        raise Refused(f"{runtime_dir}: we may not look into it; it belongs to another user") from None
    status = os.fstat(folder)
    complaint = ""
    me = os.geteuid()
    if status.st_uid != me and (ours or (me != 0 and status.st_uid != 0)):
        complaint = f"it belongs to user {status.st_uid}, we are user {me}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        complaint = f"its mode {stat.S_IMODE(status.st_mode):o} lets others write in it"
    if complaint:
        os.close(folder)
        raise Refused(f"{runtime_dir}: {complaint}", f"chmod 700 {runtime_dir}")
    return folder


def socket_address(folder: int) -> str:
    """The control socket in an open folder, as a short path."""
    return f"/proc/self/fd/{folder}/{SOCKET}"


def wide(count: int) -> int:
    """How many bytes of ancillary data `count` descriptors take."""
    return count * struct.calcsize("i")
