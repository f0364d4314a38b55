"""`dfedge publish`: what is handed over, and that nothing is signed but what was asked for."""

import base64
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dfedge.core.image.manifest import FileEntry, Manifest, image_id
from dfedge.jobs.init_fleet import init_fleet
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document

StartAgent = Callable[[Mapping[str, Handler]], None]


class Cutter:
    """An agent that does as it is told, or, where `twist` says so, does not."""

    def __init__(self, fleet: str) -> None:
        self.fleet = fleet
        self.received: dict[str, bytes] = {}
        self.params: Document = {}
        self.signature = b""
        self.manifest = b""
        self.twist: Callable[[dict[str, Any]], None] = lambda _: None

    async def publish(self, params: Document, call: Call) -> Document:
        self.params = params
        entries = []
        files = params["files"]
        assert isinstance(files, list)
        for index, file in enumerate(files):
            _, (fd,) = await call.ask({"type": "file", "index": index})
            with os.fdopen(fd, "rb") as opened:
                data = opened.read()
            self.received[file["path"]] = data
            digest = hashlib.sha256(data).digest()
            runs = ((len(data), 1),) if data else ()
            entries.append(
                FileEntry(
                    file["path"],
                    len(data),
                    digest,
                    "application/octet-stream",
                    file["mode"],
                    runs,
                    digest if data else b"",
                )
            )
        said: dict[str, Any] = {
            "name": params["name"],
            "version": params["version"],
            "compatible": tuple(params["compatible"]),  # type: ignore[arg-type]
            "files": tuple(entries),
        }
        self.twist(said)
        self.manifest = Manifest(self.fleet, created=0, **said).encode()
        answer, _ = await call.ask({"type": "sign", "manifest": base64.b64encode(self.manifest).decode()})
        self.signature = base64.b64decode(str(answer["signature"]))
        image = f"sha256:{image_id(self.manifest).hex()}"
        return {"image": image, "name": params["name"], "version": params["version"], "bytes": 9, "pieces": 2}


@pytest.fixture
def cutter(agent: StartAgent, tmp_path: Path, state_dir: Path) -> Cutter:
    made = Cutter(init_fleet(tmp_path / "fleet").fleet)
    agent({"publish": made.publish})
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "image/boot").mkdir(parents=True)
    (tmp_path / "image/boot/kernel").write_bytes(b"kernel")
    (tmp_path / "image/rootfs").write_bytes(b"root" * 10_000)
    (tmp_path / "image/rootfs").chmod(0o750)
    return tmp_path / "image"


def test_files_are_handed_over_in_order_and_the_manifest_is_signed(
    cutter: Cutter, dfedge: Any, folder: Path, tmp_path: Path
) -> None:
    words = ("--name", "gateway/os", "--version", "2.4.1", "--compatible", "acme,gw-2")
    ran = dfedge("publish", folder, *words, "--json")
    assert ran.code == 0
    assert cutter.received == {"boot/kernel": b"kernel", "rootfs": b"root" * 10_000}
    assert (cutter.params["compatible"], cutter.params["nodes"]) == (["acme,gw-2"], 0)
    assert len(ran.out.splitlines()) == 1
    assert ran.document["type"] == "result"
    assert ran.document["ok"] is True
    assert ran.document["image"] == f"sha256:{image_id(cutter.manifest).hex()}"
    if shutil.which("ssh-keygen"):
        (tmp_path / "sig").write_bytes(cutter.signature)
        command = ["ssh-keygen", "-Y", "verify", "-I", "signer", "-n", "dfedge-manifest@v1"]
        files = ["-f", str(tmp_path / "fleet/allowed_signers"), "-s", str(tmp_path / "sig")]
        subprocess.run([*command, *files], input=cutter.manifest, check=True, capture_output=True)


def test_people_get_one_line_with_the_id(cutter: Cutter, dfedge: Any, folder: Path) -> None:
    ran = dfedge("publish", folder / "boot/kernel", "--name", "kernel", "--version", "6.1")
    assert cutter.received == {"kernel": b"kernel"}
    assert ran.out == f"published kernel:6.1  sha256:{image_id(cutter.manifest).hex()[:12]}  9 B in 2 pieces\n"


def _other_name(said: dict[str, Any]) -> None:
    said["name"] = "other"


def _other_version(said: dict[str, Any]) -> None:
    said["version"] = "9"


def _other_board(said: dict[str, Any]) -> None:
    said["compatible"] = ("evil",)


def _one_file_less(said: dict[str, Any]) -> None:
    said["files"] = said["files"][:1]


def _another_size(said: dict[str, Any]) -> None:
    digest = bytes(32)
    said["files"] = (FileEntry("boot/kernel", 1, digest, "x/y", 0o644, ((1, 1),), digest), said["files"][1])


@pytest.mark.parametrize("twist", [_other_name, _other_version, _other_board, _one_file_less, _another_size])
def test_an_agent_can_not_have_something_else_signed(
    cutter: Cutter, dfedge: Any, folder: Path, twist: Callable[[dict[str, Any]], None]
) -> None:
    cutter.twist = twist
    ran = dfedge("publish", folder, "--name", "gateway/os", "--version", "2.4.1")
    assert (ran.code, "than was asked" in ran.err, "[corrupt]" in ran.err) == (1, True, True)
    assert cutter.signature == b""


def test_a_dry_run_needs_no_agent_and_no_key(dfedge: Any, folder: Path) -> None:
    ran = dfedge("publish", folder, "--name", "gateway", "--version", "1", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.document["bytes"] == 40_006
    assert [file["path"] for file in ran.document["files"]] == ["boot/kernel", "rootfs"]


def test_a_description_gives_name_and_version_and_flags_beat_it(cutter: Cutter, dfedge: Any, folder: Path) -> None:
    described = folder.parent / "image.toml"
    described.write_text(
        '[image]\nname = "gateway"\nversion = "1"\ncompatible = ["b"]\n'
        '[[files]]\npath = "k"\nsource = "image/boot/kernel"\n'
    )
    assert dfedge("publish", described).code == 0
    assert (cutter.params["name"], cutter.params["version"], cutter.received) == ("gateway", "1", {"k": b"kernel"})
    assert dfedge("publish", described, "--version", "2").code == 0
    assert (cutter.params["version"], cutter.params["compatible"]) == ("2", ["b"])


def test_without_a_key_nothing_is_cut(cutter: Cutter, dfedge: Any, folder: Path, tmp_path: Path) -> None:
    words = ("publish", folder, "--name", "a", "--version", "1")
    ran = dfedge(*words, "--fleet", tmp_path / "none")
    assert (ran.code, "there is no key to sign with [not_found]" in ran.err) == (1, True)
    assert cutter.params == {}


def test_a_key_that_no_node_would_take_is_refused(cutter: Cutter, dfedge: Any, folder: Path, tmp_path: Path) -> None:
    init_fleet(tmp_path / "others")
    ran = dfedge("publish", folder, "--name", "a", "--version", "1", "--sign-with", tmp_path / "others/signer")
    assert (ran.code, "[untrusted]" in ran.err) == (1, True)
    assert cutter.signature == b""


def test_name_and_version_must_be_given(dfedge: Any, folder: Path) -> None:
    ran = dfedge("publish", folder, "--name", "a")
    assert (ran.code, "--version is missing" in ran.err) == (2, True)


def test_a_file_that_changes_meanwhile_is_not_published(
    agent: StartAgent, dfedge: Any, folder: Path, tmp_path: Path
) -> None:
    cutter = Cutter(init_fleet(tmp_path / "fleet").fleet)

    async def publish(params: Document, call: Call) -> Document:
        (folder / "rootfs").write_bytes(b"grown")
        return await cutter.publish(params, call)

    agent({"publish": publish})
    ran = dfedge("publish", folder, "--name", "a", "--version", "1")
    assert (ran.code, "rootfs: it changed while it was being published" in ran.err) == (1, True)
    assert cutter.signature == b""
