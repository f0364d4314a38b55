"""Runs a hook of this host as root, for an agent that may not. systemd runs a copy of this file for each request.

The agent says which of three hooks, and for which image, and nothing more; which program that is stands in a folder
that only root can change. This file stands beside the versions and needs none of them: it imports only Python's own.

One line is read, `HOOK IMAGE NAME VERSION`. The answer is `runs` and then `ended CODE`, or `no REASON`.
"""

import os
import re
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

HOOKS = ("install", "health", "rollback")  # the programs in the folder, by their names
MAX_REQUEST = 1024  # bytes; the longest name and version need half of it
REQUEST_S = 10.0
_FIELDS = (
    ("hook", 16, re.compile("|".join(HOOKS))),
    ("image", 71, re.compile(r"sha256:[0-9a-f]{64}")),
    ("name", 255, re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")),
    ("version", 128, re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")),
)


class No(Exception):
    """Why a hook is not run, in one line."""


def parse(line: bytes) -> "dict[str, str]":
    """The hook, and the image it is for. Raises No."""
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != len(_FIELDS):
        raise No(f"a request has {len(_FIELDS)} words, this one has {len(words)}")
    for word, (field, longest, pattern) in zip(words, _FIELDS, strict=True):
        if len(word) > longest or not pattern.fullmatch(word):
            raise No(f"not the {field} of a request: {word[:80]!a}")
    return {field: word for word, (field, _, _) in zip(words, _FIELDS, strict=True)}


def program(folder: Path, hook: str) -> Path:
    """The hook's program, if only root can change it or put another in its place. Raises No."""
    path = folder / hook
    try:
        if path.resolve(strict=True) != path:
            raise No(f"{path} is a link or lies behind one, and is not run")
        for part in (path, *path.parents):
            status = part.stat()
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not sticky):
                raise No(f"others than root may change {part}, so it is not run")
    except FileNotFoundError:
        raise No(f"this host has no {path}") from None
    if not stat.S_ISREG(path.stat().st_mode) or not path.stat().st_mode & 0o100:
        raise No(f"{path} is not a program")
    return path


def answer(connection: socket.socket, folder: Path) -> int:
    """Run the hook that is asked for, and say how it ended, also where nobody listens any more; returns its code."""
    try:
        request = parse(_line(connection))
        path = program(folder, request["hook"])
        facts = {f"DFEDGE_{field.upper()}": word for field, word in request.items()}
        sys.stderr.write(f"runs {' '.join(request.values())}\n")
        child = subprocess.Popen([path], env={**os.environ, **facts}, cwd="/", stdin=subprocess.DEVNULL)
    except (No, OSError) as error:
        sys.stderr.write(f"not run: {error}\n")
        _say(connection, f"no {error}")
        return 1
    _say(connection, "runs")
    code = child.wait()
    _say(connection, f"ended {code}")
    return code if code >= 0 else 128 - code


def _line(connection: socket.socket) -> bytes:
    connection.settimeout(REQUEST_S)
    data = b""
    while not data.endswith(b"\n"):
        more = connection.recv(MAX_REQUEST + 1 - len(data))
        data += more
        if not more or len(data) > MAX_REQUEST:
            raise No(f"a request is one line of {MAX_REQUEST} bytes at most")
    return data[:-1]


def _say(connection: socket.socket, text: str) -> None:
    with suppress(OSError):  # whoever asked may have gone
        connection.sendall(f"{text}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(answer(socket.socket(fileno=os.dup(0)), Path(sys.argv[1])))
