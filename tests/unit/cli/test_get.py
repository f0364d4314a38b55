"""`dfedge get`: what a user finds at -o, and that nothing else on the disk is touched."""

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from dfedge.core.errors import Corrupt, NotFound
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document

IMAGE = "sha256:" + "9f" * 32
Files = dict[str, tuple[bytes, int]]
Give = Callable[[Files], None]

ONE: Files = {"gateway.img": (b"firmware" * 1000, 0o644)}
MANY: Files = {"boot/kernel": (b"k" * 10, 0o755), "boot/dtb/x.dtb": (b"d", 0o600), "rootfs": (b"", 0o644)}


@pytest.fixture
def give(agent: Callable[[Mapping[str, Handler]], None]) -> Give:
    """An agent that holds an image of these files."""

    def start(files: Files) -> None:
        total = sum(len(data) for data, _ in files.values())

        async def get(params: Document, call: Call) -> Document:
            if params["ref"] != "gateway:2.4.1":
                raise NotFound(f"{params['ref']}: none of 3 peers has it; nearest are gateway:2.4.1", "dfedge peers")
            names = {"name": "gateway", "version": "2.4.1", "bytes_total": total}
            await call.emit({"type": "start", "ref": params["ref"]})
            await call.emit({"type": "manifest", **names, "bytes_done": 0, "bytes_reused": 0})
            await call.emit({"type": "progress", **names, "bytes_done": total, "rate": 1e6, "peers": []})
            return {
                "image": IMAGE,
                **names,
                "bytes_fetched": total,
                "bytes_reused": 0,
                "bytes_wasted": 0,
                "seconds": 1.5,
                "peers": [{"id": "p" * 52, "bytes": total}],
                "bad_pieces": [],
                "files": [{"path": path, "size": len(data), "mode": mode} for path, (data, mode) in files.items()],
            }

        async def output(params: Document, call: Call) -> Document:
            assert params["image"] == IMAGE
            assert isinstance(params["file"], int)
            data = list(files.values())[params["file"]][0]
            fd = call.take_fd(0)
            os.write(fd, data)
            os.close(fd)
            return {"bytes": len(data)}

        agent({"get": get, "output": output})

    return start


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_whole_with_its_mode_and_nothing_beside_it(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(ONE)
    (tmp_path / "out").mkdir()
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "out" / "gw.img")
    assert ran.code == 0
    assert tree(tmp_path / "out") == {"gw.img": ONE["gateway.img"][0]}
    mode = stat.S_IMODE((tmp_path / "out/gw.img").stat().st_mode)
    assert mode & 0o600 == 0o600
    assert not mode & 0o133
    assert ran.out == (
        f"{tmp_path}/out/gw.img: 7.8 KiB proven in 1.5 s: 7.8 KiB from 1 peer, 0 B reused, 0 bad pieces\n"
    )
    assert ran.err.splitlines()[-1].startswith("get gateway:2.4.1 100 %")


def test_json_is_lines_and_the_last_is_the_result(give: Give, dfedge: Any) -> None:
    give(ONE)
    ran = dfedge("get", "gateway:2.4.1", "--json")
    assert [json.loads(line)["type"] for line in ran.out.splitlines()] == ["start", "manifest", "progress", "result"]
    assert ran.document["ok"] is True
    assert ran.document["bytes_fetched"] == 8000
    assert ran.err == ""


def test_an_image_goes_into_a_folder_with_its_paths(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(MANY)
    expected = {path: data for path, (data, _) in MANY.items()}
    (tmp_path / "there").mkdir()
    for target in (f"{tmp_path}/new/deep/", tmp_path / "there"):
        assert dfedge("get", "gateway:2.4.1", "-o", target).code == 0
        assert tree(Path(target)) == expected
    assert os.access(tmp_path / "there/boot/kernel", os.X_OK)


def test_what_exists_is_not_replaced_without_force(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(ONE)
    out = tmp_path / "gw.img"
    out.write_text("mine")
    ran = dfedge("get", "gateway:2.4.1", "-o", out)
    assert ran.code == 1
    assert f"{out}: it exists, 4 B [refused]" in ran.err
    assert "--force" in ran.err
    assert "looking" not in ran.err  # refused before anything was fetched
    assert out.read_text() == "mine"
    assert dfedge("get", "gateway:2.4.1", "-o", out, "--force").code == 0
    assert out.read_bytes() == ONE["gateway.img"][0]


def test_in_a_folder_all_is_judged_before_anything_is_written(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(MANY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/rootfs").write_text("mine")
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "out")
    assert (ran.code, "rootfs: it exists" in ran.err) == (1, True)
    assert tree(tmp_path / "out") == {"rootfs": b"mine"}


def test_a_link_at_the_target_is_replaced_and_never_followed(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(ONE)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "gw.img").symlink_to("precious")
    assert dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img").code == 1
    assert dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img", "--force").code == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "gw.img").is_symlink()


def test_a_link_inside_the_folder_leads_nowhere(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(MANY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/boot").symlink_to(tmp_path / "elsewhere")
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "out", "--force")
    assert (ran.code, "boot: it is there and is not a folder" in ran.err) == (1, True)
    assert tree(tmp_path / "elsewhere") == {}
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("path", ["../escaped", "/tmp/escaped", "a/../../escaped", "a//b", "a/\x00b"])
def test_a_path_that_leads_out_is_refused(give: Give, dfedge: Any, tmp_path: Path, path: str) -> None:
    give({path: (b"evil", 0o644)})
    (tmp_path / "out").mkdir()
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "out")
    assert (ran.code, "[refused]" in ran.err) == (1, True)
    assert not list(tmp_path.rglob("escaped"))
    assert tree(tmp_path / "out") == {}


def test_an_agent_that_lies_about_paths_can_not_choose_a_single_files_name(
    give: Give, dfedge: Any, tmp_path: Path
) -> None:
    give({"../escaped": (b"data", 0o644)})
    assert dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img").code == 0
    assert (tmp_path / "gw.img").read_bytes() == b"data"
    assert not list(tmp_path.rglob("escaped"))


def test_many_files_do_not_go_into_one(give: Give, dfedge: Any, tmp_path: Path) -> None:
    give(MANY)
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img")
    assert (ran.code, "has 3 files; give a folder [refused]" in ran.err) == (1, True)
    assert not (tmp_path / "gw.img").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("none/gw.img", "the folder {tmp}/none does not exist [not_found]"),
        ("pipe", "it is a device, pipe or socket"),
        ("file/", "it is a file, not a folder"),
    ],
)
def test_a_place_that_can_not_be_written_is_told_before_the_first_byte(
    give: Give, dfedge: Any, tmp_path: Path, target: str, said: str
) -> None:
    give(ONE)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    ran = dfedge("get", "gateway:2.4.1", "-o", f"{tmp_path}/{target}", "--force")
    assert ran.code == 1
    assert said.format(tmp=tmp_path) in ran.err
    assert "looking" not in ran.err


def test_a_folder_that_is_not_ours_to_write_is_told_with_the_reason(
    give: Give, dfedge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(ONE)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img")
    assert f"{tmp_path}: we may not write there (mode 700, owner {os.getuid()}, we are user {os.getuid()})" in ran.err


def test_a_disk_too_small_is_told_with_the_numbers(
    give: Give, dfedge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(ONE)
    full = SimpleNamespace(f_bavail=1, f_frsize=4096)
    monkeypatch.setattr(os, "fstatvfs", lambda _: full)
    ran = dfedge("get", "gateway:2.4.1", "-o", tmp_path / "gw.img")
    assert f"{tmp_path}: gateway:2.4.1 needs 7.8 KiB, 4.0 KiB is free [no_space]\n  try: df -h {tmp_path}" in ran.err
    assert not (tmp_path / "gw.img").exists()


def test_a_disk_too_small_for_the_output_is_told_before_it_is_fetched(
    agent: Callable[[Mapping[str, Handler]], None], dfedge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    async def get(params: Document, call: Call) -> Document:
        await call.emit({"type": "manifest", "name": "a", "version": "1", "bytes_total": 8000, "bytes_done": 0})
        await anyio.sleep(5)  # the command hangs up, which ends it
        fetched.append(params)
        return {}

    agent({"get": get})
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    ran = dfedge("get", "a:1", "-o", tmp_path / "new" / "")
    assert f"{tmp_path}: a:1 needs 7.8 KiB, 4.0 KiB is free [no_space]" in ran.err
    assert not fetched and not (tmp_path / "new").exists()


def test_an_output_that_fails_half_way_leaves_nothing(
    agent: Callable[[Mapping[str, Handler]], None], dfedge: Any, tmp_path: Path
) -> None:
    async def get(params: Document, call: Call) -> Document:
        return {"image": IMAGE, "name": "a", "version": "1", "files": [{"path": "a", "size": 9, "mode": 0o644}]}

    async def output(params: Document, call: Call) -> Document:
        os.write(call.fds[0], b"half")
        raise Corrupt("blob: spoilt on disk")

    agent({"get": get, "output": output})
    (tmp_path / "out").mkdir()
    ran = dfedge("get", "a:1", "-o", tmp_path / "out" / "x")
    assert (ran.code, "spoilt on disk [corrupt]" in ran.err) == (1, True)
    assert os.listdir(tmp_path / "out") == []


def test_an_unknown_image_is_told_with_the_nearest(give: Give, dfedge: Any) -> None:
    give(ONE)
    ran = dfedge("get", "gatway")
    assert ran.code == 1
    assert ran.err.splitlines()[-2:] == [
        "dfedge: gatway: none of 3 peers has it; nearest are gateway:2.4.1 [not_found]",
        "  try: dfedge peers",
    ]
