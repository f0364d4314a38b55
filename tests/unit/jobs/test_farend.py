"""The part of a deployment that runs on the node: at no moment is there half a file, and no enrolment stays behind."""

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dfedge.jobs import farend


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def receive(path: Path, data: bytes, digest: str) -> int:
    return farend.main(["receive", str(path), digest], io.BytesIO(data))


def test_a_file_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "dfedge" / "deployed.pyz"
    assert receive(path, b"one", sha256(b"one")) == 0
    with pytest.raises(SystemExit, match="2 bytes arrived that are not those that were sent"):
        receive(path, b"tw", sha256(b"two"))
    assert path.read_bytes() == b"one"
    assert receive(path, b"three", sha256(b"three")) == 0  # over what the broken attempt left
    assert path.read_bytes() == b"three"
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(path.parent.iterdir()) == [path]


def test_a_disk_that_a_copy_filled_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployed.pyz"
    assert receive(path, b"one", sha256(b"one")) == 0

    def full(_source: object, file: io.BufferedRandom, _chunk: int) -> None:
        file.write(b"tw")
        file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert receive(path, b"two", sha256(b"two")) == farend.NO_SPACE
    assert capsys.readouterr().err == f"{path}: no space left on device\n"
    assert path.read_bytes() == b"one"
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_second_operator_waits_his_turn(tmp_path: Path) -> None:
    path = tmp_path / "deployed.pyz"
    with (tmp_path / ".deployed.pyz.part").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="somebody else writes it just now"):
            receive(path, b"one", sha256(b"one"))
    assert not path.exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".deployed.pyz.part").symlink_to("victim")
    with pytest.raises(SystemExit):
        receive(tmp_path / "deployed.pyz", b"one", sha256(b"one"))
    assert (tmp_path / "victim").read_text() == "mine"


def test_what_is_there_is_known_by_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"one")
    for path, said in (("file", sha256(b"one")), ("none", "-"), ("file/below", "-")):
        assert farend.main(["digest", str(tmp_path / path)], io.BytesIO()) == 0
        assert capsys.readouterr().out == said + "\n"


def test_the_enrolment_is_gone_when_it_has_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DFEDGE_STATE_DIR", str(tmp_path / "state"))
    pyz = tmp_path / "pyz"
    pyz.write_text(
        "import json, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[3])\n"
        "assert folder.stat().st_mode & 0o777 == 0o700\n"
        "print(json.dumps([sys.argv[1:3], sorted(p.name for p in folder.iterdir()), (folder / 'root').read_text()]))\n"
        "sys.exit(7)\n"
    )
    files = {"root": "aGk=", "../../escape": "aGk="}
    done = subprocess.run(
        [sys.executable, "-I", farend.__file__, "join", str(pyz)],
        input=json.dumps(files).encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert json.loads(done.stdout) == [["--json", "join"], ["escape", "root"], "hi"]
    assert not list(tmp_path.glob("dfedge-enrolment-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_state_that_belongs_to_a_services_user_stays_his(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)  # unlike pytest's, which is closed to other users
        state = place / "state"
        state.mkdir()
        os.chown(state, 7411, 7411)
        monkeypatch.setenv("DFEDGE_STATE_DIR", str(state))
        pyz = place / "pyz"
        pyz.write_text("import os\nprint(os.geteuid(), os.getegid(), os.getgroups(), os.environ['DFEDGE_STATE_DIR'])\n")
        command = ["/usr/bin/python3", "-I", farend.__file__, "dfedge", str(pyz), "join", "--make-key"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["7411", "7411", "[]", str(state)]


def test_a_disk_that_is_full_or_read_only_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"^\S+: (not a directory|file exists)$"):
        receive(tmp_path / "file" / "deployed.pyz", b"", sha256(b""))
