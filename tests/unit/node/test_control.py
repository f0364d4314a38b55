"""The control socket: who gets in, what becomes of descriptors, and that nothing a client sends harms the agent.

Long, as it goes through one object's every promise.
"""

import array
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from dfedge.core.errors import AgentDown, Busy, DfedgeError, NoSpace, NotFound, Refused
from dfedge.node import controlcall
from dfedge.node.client import Client
from dfedge.node.control import MAX_CONNECTIONS, Call, Handler, serve
from dfedge.node.controlframe import MAX_FDS, MAX_FRAME, SOCKET, Document, encode


@contextmanager
def agent(runtime_dir: Path, handlers: Mapping[str, Handler]) -> Iterator[None]:
    with anyio.from_thread.start_blocking_portal() as portal:
        future, _ = portal.start_task(lambda *, task_status: serve(runtime_dir, handlers, task_status=task_status))
        try:
            yield
        finally:
            future.cancel()


async def echo(params: Document, call: Call) -> Document:
    return {"params": params, "uid": call.uid}


async def count(params: Document, call: Call) -> Document:
    for number in range(3):
        await call.emit({"number": number})
    return {}


async def fail(params: Document, call: Call) -> Document:
    raise NoSpace("store: 3 bytes are free", "dfedge gc")


async def crash(params: Document, call: Call) -> Document:
    raise RuntimeError("a mistake of ours")


async def fail_in_a_group(params: Document, call: Call) -> Document:
    async with anyio.create_task_group() as group:
        group.start_soon(fail, params, call)
    return {}


async def read_file(params: Document, call: Call) -> Document:
    with os.fdopen(call.take_fd(0), "rb") as file:
        return {"text": file.read().decode()}


async def ask_for_files(params: Document, call: Call) -> Document:
    texts = []
    for number in range(2):
        answer, fds = await call.ask({"number": number})
        with os.fdopen(fds[0], "rb") as file:
            texts.append([answer["name"], file.read().decode()])
    return {"texts": texts}


HANDLERS: Mapping[str, Handler] = {
    "echo": echo,
    "count": count,
    "fail": fail,
    "crash": crash,
    "fail_in_a_group": fail_in_a_group,
    "read_file": read_file,
    "ask_for_files": ask_for_files,
}


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    with agent(tmp_path / "run", HANDLERS):
        yield tmp_path / "run"


@pytest.fixture
def raw(runtime_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(runtime_dir / SOCKET))
        yield sock


def answer(sock: socket.socket) -> Document:
    """The next frame, or nothing at the end."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        part = sock.recv(65536)
        if not part:
            return {}
        data += part
    document: Document = json.loads(data[4:])
    return document


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def eventually(holds: Callable[[], bool]) -> None:
    gone = threading.Event()
    for _ in range(500):
        if holds():
            return
        gone.wait(0.01)
    pytest.fail("it did not happen within 5 s")


def test_a_command_gets_its_answer_its_events_and_its_error(runtime_dir: Path) -> None:
    with Client.connect(runtime_dir) as client:
        assert client.call("echo", {"ä": [1, None]}) == {"params": {"ä": [1, None]}, "uid": os.getuid()}
        events: list[Document] = []
        assert client.call("count", {}, on_event=events.append) == {}
        assert events == [{"number": 0}, {"number": 1}, {"number": 2}]
        for verb in ("fail", "fail_in_a_group"):
            with pytest.raises(NoSpace, match="3 bytes are free") as caught:
                client.call(verb, {})
            assert caught.value.hint == "dfedge gc"
        with pytest.raises(NotFound, match="no verb 'nope'"):
            client.call("nope", {})


def test_a_mistake_in_one_verb_does_not_take_the_agent_along(runtime_dir: Path) -> None:
    with Client.connect(runtime_dir) as client:
        with pytest.raises(Refused, match="internal error: RuntimeError"):
            client.call("crash", {})
        assert client.call("echo", {})["params"] == {}


def test_files_travel_as_descriptors_and_none_stays_open(runtime_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("hello")
    with Client.connect(runtime_dir) as client:
        client.call("echo", {})
        before = descriptors()
        for verb in ("read_file", "echo", "crash", "nope"):  # taken, not taken, and not even a handler
            with file.open("rb") as opened:
                fds = [opened.fileno()] * 3
                if verb == "read_file":
                    assert client.call(verb, {}, fds=fds) == {"text": "hello"}
                elif verb == "echo":
                    client.call(verb, {}, fds=fds)
                else:
                    with pytest.raises(DfedgeError):
                        client.call(verb, {}, fds=fds)

        def reply(question: Document) -> tuple[Document, list[int]]:
            return {"name": question["number"]}, [os.open(file, os.O_RDONLY)]

        assert client.call("ask_for_files", {}, on_ask=reply) == {"texts": [[0, "hello"], [1, "hello"]]}
        eventually(lambda: descriptors() == before)


def test_a_verb_without_its_descriptor_is_refused(runtime_dir: Path) -> None:
    with Client.connect(runtime_dir) as client, pytest.raises(Refused, match="descriptor 0 was not passed"):
        client.call("read_file", {})


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">I", MAX_FRAME + 1),
        struct.pack(">I", 0),
        struct.pack(">I", 4) + b"\xff\xfe\x00\x01",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 60_000) + b"[" * 60_000,
        encode({"verb": 3, "params": {}}),
        encode({"verb": "echo", "params": []}),
        encode({"verb": "echo", "params": {}, "fds": 1}),
        encode({"verb": "echo", "params": {}, "fds": "0"}),
        encode({"more": {}, "fds": 0}),
        encode({}),
    ],
)
def test_garbage_gets_an_error_and_is_hung_up_on(raw: socket.socket, runtime_dir: Path, data: bytes) -> None:
    raw.sendall(data)
    assert "error" in answer(raw)
    assert is_closed(raw)
    with Client.connect(runtime_dir) as client:
        client.call("echo", {})


def test_descriptors_that_come_with_garbage_are_closed(raw: socket.socket, tmp_path: Path) -> None:
    before = descriptors()
    with (tmp_path / "a").open("w") as file:
        rights = array.array("i", [file.fileno()] * 5)
        raw.sendmsg(
            [encode({"verb": "echo", "params": {}, "fds": 2})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        )
        assert "5 descriptors came, 2 were announced" in str(answer(raw))
    assert is_closed(raw)
    eventually(lambda: descriptors() <= before)


def test_too_many_descriptors_are_closed_and_refused(raw: socket.socket, tmp_path: Path) -> None:
    before = descriptors()
    with (tmp_path / "a").open("w") as file:
        rights = array.array("i", [file.fileno()] * (MAX_FDS + 1))
        raw.sendmsg([encode({"verb": "echo", "params": {}})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert f"more than {MAX_FDS} descriptors" in str(answer(raw))
    eventually(lambda: descriptors() <= before)


def test_half_a_message_is_not_waited_for(raw: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlcall, "HALF_FRAME_S", 0.2)
    raw.sendall(encode({"verb": "echo", "params": {}})[:9])
    assert "not finished" in str(answer(raw))
    assert is_closed(raw)


def test_a_client_that_thinks_is_waited_for(raw: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlcall, "HALF_FRAME_S", 0.05)
    raw.settimeout(0.3)
    with pytest.raises(TimeoutError):
        raw.recv(1)
    raw.settimeout(10)
    raw.sendall(encode({"verb": "echo", "params": {}}))
    assert "result" in answer(raw)


def test_a_message_in_many_small_parts_is_one_message(raw: socket.socket) -> None:
    for byte in encode({"verb": "echo", "params": {"a": 1}, "fds": 0}):
        raw.send(bytes([byte]))
    assert answer(raw)["result"]


def test_a_second_verb_before_the_first_is_done_is_refused(tmp_path: Path) -> None:
    async def forever(params: Document, call: Call) -> Document:
        await anyio.sleep_forever()
        return {}

    with agent(tmp_path / "run", {"forever": forever}), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(tmp_path / "run" / SOCKET))
        sock.sendall(encode({"verb": "forever", "params": {}}) * 2)
        assert "out of place" in str(answer(sock))


def test_a_client_that_goes_away_ends_its_verb(tmp_path: Path) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def forever(params: Document, call: Call) -> Document:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return {}

    with agent(tmp_path / "run", {"forever": forever}):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "run" / SOCKET))
        sock.sendall(encode({"verb": "forever", "params": {}}))
        assert started.wait(5)
        assert not cancelled.is_set()
        sock.close()
        assert cancelled.wait(5)


def test_an_answer_that_nobody_reads_does_not_hold_up_others(tmp_path: Path) -> None:
    async def flood(params: Document, call: Call) -> Document:
        while True:
            await call.emit({"padding": "x" * 10_000})

    with agent(tmp_path / "run", {"flood": flood, "echo": echo}), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "run" / SOCKET))
        sock.sendall(encode({"verb": "flood", "params": {}}))
        with Client.connect(tmp_path / "run") as client:
            assert client.call("echo", {"a": 1})["params"] == {"a": 1}


def test_no_more_than_so_many_commands_at_once(runtime_dir: Path) -> None:
    clients = [Client.connect(runtime_dir) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        client.call("echo", {})
    with Client.connect(runtime_dir) as one_more, pytest.raises(Busy, match=f"{MAX_CONNECTIONS} commands"):
        one_more.call("echo", {})
    for client in clients:
        client.close()

    def gets_in() -> bool:
        with Client.connect(runtime_dir) as client:
            try:
                client.call("echo", {})
            except (Busy, AgentDown):
                return False
        return True

    eventually(gets_in)


def test_an_agent_that_dies_in_the_middle_is_told_as_such(tmp_path: Path) -> None:
    started = threading.Event()

    async def forever(params: Document, call: Call) -> Document:
        started.set()
        await anyio.sleep_forever()
        return {}

    stack = agent(tmp_path / "run", {"forever": forever})
    stack.__enter__()
    client = Client.connect(tmp_path / "run")
    ender = threading.Thread(target=lambda: started.wait(5) and stack.__exit__(None, None, None))
    ender.start()
    with pytest.raises(AgentDown, match="went away"):
        client.call("forever", {})
    client.close()
    ender.join()


def test_without_an_agent_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(AgentDown, match="no agent answers") as caught:
        Client.connect(tmp_path / "none")
    assert caught.value.hint == "dfedge agent"


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_agent(tmp_path: Path) -> None:
    with agent(tmp_path / "run", HANDLERS):
        assert stat.S_IMODE((tmp_path / "run" / SOCKET).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert not (tmp_path / "run" / SOCKET).exists()


def test_a_stale_socket_of_a_dead_agent_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "run" / SOCKET))
    dead.close()
    with pytest.raises(AgentDown):
        Client.connect(tmp_path / "run")
    with agent(tmp_path / "run", HANDLERS), Client.connect(tmp_path / "run") as client:
        client.call("echo", {})


def test_a_live_agent_keeps_its_socket(runtime_dir: Path) -> None:
    words = rf"another agent answers there \(pid {os.getpid()}\)"
    with pytest.raises(Busy, match=words), agent(runtime_dir, HANDLERS):
        pass
    with Client.connect(runtime_dir) as client:
        client.call("echo", {})


def test_a_folder_deeper_than_a_socket_address_is_long_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120) / "run"
    with agent(deep, HANDLERS), Client.connect(deep) as client:
        client.call("echo", {})
    assert not (deep / SOCKET).exists()


def test_a_folder_that_is_a_link_or_that_others_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")
    for name, words in (("link", "link or a file"), ("open", "lets others write"), ("file", "link or a file")):
        with pytest.raises(Refused, match=words):
            Client.connect(tmp_path / name)
    for name in ("link", "open"):
        with pytest.raises(Refused), agent(tmp_path / name, HANDLERS):
            pass


def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run" / SOCKET).write_text("precious")
    with pytest.raises(Refused, match="is not a socket"), agent(tmp_path / "run", HANDLERS):
        pass
    assert (tmp_path / "run" / SOCKET).read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the child of a fork does nothing but connect
def test_another_user_gets_no_answer(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    with agent(tmp_path / "run", HANDLERS):
        (tmp_path / "run").chmod(0o755)
        (tmp_path / "run" / SOCKET).chmod(0o666)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgid(65534)
            os.setuid(65534)
            said = b"nothing"
            try:
                with Client.connect(tmp_path / "run") as client:
                    client.call("echo", {})
            except DfedgeError as error:
                said = str(error).encode()
            except BaseException as error:
                said = repr(error).encode()
            os.write(writer, said)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        assert b"user 65534 may not speak to this agent" in said
