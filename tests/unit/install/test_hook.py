"""Hooks as root: the agent chooses which and for what image, never what runs; and it is told how that ended."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from dfedge.core.errors import Busy, NotFound, Refused
from dfedge.core.image import name
from dfedge.install import hook, place
from dfedge.install.hookcall import run_hook

IMAGE: Final = "sha256:" + "9f" * 32
ASKED: Final = f"install {IMAGE} gateway/os 2.4.1"
Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "hooks").mkdir(mode=0o755)
    return tmp_path / "hooks"


@pytest.fixture
def write(folder: Path) -> Write:
    """Make a hook of the host."""

    def make(text: str, mode: int = 0o755) -> Path:
        path = folder / "install"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    return make


def runner(folder: Path, connection: socket.socket) -> "subprocess.Popen[bytes]":
    """What systemd starts for a connection."""
    command: list[str | Path] = [sys.executable, "-I", hook.__file__, folder]
    return subprocess.Popen(command, stdin=connection.fileno())


def ask(folder: Path, data: bytes) -> list[str]:
    """The lines that come back."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = runner(folder, theirs)
        theirs.close()
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        try:
            with ours.makefile() as answers:
                said = answers.read().splitlines()
        except ConnectionResetError:  # not all of it was read
            said = ["no answer"]
        process.wait(30)
    return said


def test_a_hook_is_told_the_image_and_the_asker_how_it_ended(folder: Path, write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    write(f'echo "$DFEDGE_HOOK $DFEDGE_IMAGE $DFEDGE_NAME $DFEDGE_VERSION" > {told}; ! read -r line')
    assert ask(folder, f"{ASKED}\n".encode()) == ["runs", "ended 0"]
    assert told.read_text() == f"{ASKED}\n"
    write("exit 3")
    assert ask(folder, f"{ASKED}\n".encode()) == ["runs", "ended 3"]
    write("kill -9 $$")
    assert ask(folder, f"{ASKED}\n".encode()) == ["runs", "ended -9"]


@pytest.mark.parametrize(
    "line",
    [
        ASKED.replace("install", "../../usr/bin/id"),
        ASKED.replace("install", "deinstall"),
        ASKED.replace("9f", "9F"),
        ASKED.replace(IMAGE, "sha256:9f2c"),
        ASKED.replace("gateway/os", "../os"),
        ASKED.replace("gateway/os", "x" * 256),
        ASKED.replace("2.4.1", "$(id)"),
        ASKED.replace("2.4.1", "2.4.1\0"),
        ASKED.replace("2.4.1", "\N{SUPERSCRIPT TWO}"),
        ASKED.replace("2.4.1", "-rf"),
        f"{ASKED} more",
        f"{ASKED}\n{ASKED}",
        ASKED.replace(" ", "  "),
        "",
        "x" * 5000,
    ],
)  # fmt: skip
def test_an_agent_that_was_taken_over_can_have_nothing_else_run(
    folder: Path, write: Write, tmp_path: Path, line: str
) -> None:
    write(f"touch {tmp_path / 'ran'}")
    with pytest.raises(hook.No):
        hook.parse(line.encode())
    if "\n" not in line:
        assert ask(folder, f"{line}\n".encode())[0].startswith("no ")
        assert not (tmp_path / "ran").exists()


def test_half_a_request_runs_nothing(folder: Path, write: Write, tmp_path: Path) -> None:
    write(f"touch {tmp_path / 'ran'}")
    assert ask(folder, ASKED.encode()) == ["no a request is one line of 1024 bytes at most"]
    assert not (tmp_path / "ran").exists()


def _link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, "this host has no "),
        (lambda path: path.chmod(0o775), "others than root may change"),
        (lambda path: path.parent.chmod(0o777), "others than root may change"),
        (lambda path: path.chmod(0o644), "is not a program"),
        (_link, "is a link"),
    ],
)
def test_a_program_that_others_can_change_is_not_run_as_root(
    folder: Path, write: Write, tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(write(f"touch {tmp_path / 'ran'}"))
    (said,) = ask(folder, f"{ASKED}\n".encode())
    assert said.startswith("no ") and told in said
    assert not (tmp_path / "ran").exists()


def test_a_hook_goes_on_when_the_agent_that_asked_is_gone(folder: Path, write: Write, tmp_path: Path) -> None:
    write(f"sleep 0.5; touch {tmp_path / 'ended'}")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = runner(folder, theirs)
        theirs.close()
        ours.sendall(f"{ASKED}\n".encode())
        assert ours.recv(100) == b"runs\n"
    assert process.wait(30) == 0
    assert (tmp_path / "ended").exists()


def test_the_copy_on_the_host_knows_the_same_names_as_dfedge() -> None:
    patterns = {field: (longest, pattern.pattern) for field, longest, pattern in hook._FIELDS}
    assert patterns["name"] == (name.MAX_NAME, name._NAME.pattern)
    assert patterns["version"] == (name.MAX_VERSION, name._VERSION.pattern)
    assert hook.HOOKS == place.HOOKS
    imported = re.findall(r"^(?:from|import) ([\w.]+)", Path(hook.__file__).read_text(), re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names | {"collections.abc"}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[Callable[[socket.socket], object]], Path]]:
    """Where systemd would listen; what becomes of the one connection is the test's to say."""
    opened: list[tuple[socket.socket, threading.Thread]] = []

    def listen(serve: Callable[[socket.socket], object]) -> Path:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / "sock"))
        server.listen()

        def accept() -> None:
            with server.accept()[0] as connection:
                serve(connection)

        opened.append((server, threading.Thread(target=accept, daemon=True)))
        opened[-1][1].start()
        return tmp_path / "sock"

    yield listen
    for server, thread in opened:
        thread.join(30)
        server.close()


def _run(path: Path) -> list[str]:
    started: list[str] = []
    run_hook(path, "install", IMAGE, "gateway/os", "2.4.1", lambda: started.append("runs"))
    return started


def test_whoever_asks_waits_for_the_end(folder: Path, write: Write, listening: Any) -> None:
    write("exit 0")
    assert _run(listening(lambda connection: runner(folder, connection).wait())) == ["runs"]


def test_a_hook_that_fails_fails_the_command(folder: Path, write: Write, listening: Any) -> None:
    write("exit 7")
    path = listening(lambda connection: runner(folder, connection).wait())
    with pytest.raises(Refused, match=r"hook install for gateway/os:2\.4\.1: ended with exit code 7"):
        _run(path)


def test_a_host_without_such_a_hook_says_where_it_belongs(folder: Path, listening: Any) -> None:
    path = listening(lambda connection: runner(folder, connection).wait())
    with pytest.raises(Refused, match=rf"not run: this host has no {folder}/install"):
        _run(path)


def test_a_second_hook_at_once_is_told_so(listening: Any) -> None:
    with pytest.raises(Busy, match="another hook runs"):
        _run(listening(lambda _: None))  # systemd closes what is over MaxConnections


def test_a_hook_that_its_unit_stopped_is_no_success(listening: Any) -> None:
    with pytest.raises(Refused, match="was stopped before it ended"):
        _run(listening(lambda connection: (connection.recv(1024), connection.sendall(b"runs\n"))))


def test_a_host_that_runs_no_hooks_says_how_it_would(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as told:
        _run(tmp_path / "none")
    assert told.value.hint == "sudo dfedge service install --hooks"
