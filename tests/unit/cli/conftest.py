"""A command line run in this process, against an agent whose verbs the test writes, over a real control socket."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest

from dfedge.cli.app import main
from dfedge.node.control import Handler, serve


@dataclass(frozen=True)
class Ran:
    """What a user sees of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The last line of stdout."""
        document: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return document


Run = Callable[..., Ran]
StartAgent = Callable[[Mapping[str, Handler]], None]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node of its own, whatever this machine is set up as."""
    for name in ("CONFIG", "FLEET", "RUNTIME_DIR", "DEBUG"):
        monkeypatch.delenv(f"DFEDGE_{name}", raising=False)
    settings = tmp_path / "dfedge.toml"
    settings.write_text("")
    monkeypatch.setenv("DFEDGE_CONFIG", str(settings))
    monkeypatch.setenv("DFEDGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DFEDGE_FLEET", str(tmp_path / "fleet"))
    return tmp_path / "state"


@pytest.fixture
def dfedge(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command line."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def agent(state_dir: Path) -> Iterator[StartAgent]:
    """Start an agent that knows the given verbs."""
    with ExitStack() as stack:
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())

        def start(handlers: Mapping[str, Handler]) -> None:
            future, _ = portal.start_task(
                lambda *, task_status: serve(state_dir / "run", handlers, task_status=task_status)
            )
            stack.callback(future.cancel)

        yield start
