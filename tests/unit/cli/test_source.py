"""What `publish` takes from a disk, and what it refuses by name before anything is sent."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dfedge.cli import source
from dfedge.core.errors import NotFound, Refused


def test_a_folder_is_taken_whole_and_sorted(tmp_path: Path) -> None:
    for path in ("b/z", "b/a", "a.txt", "c"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "c").chmod(0o4755)
    (tmp_path / "a.txt").chmod(0o640)
    found = source.of_path(tmp_path)
    assert [(each.path, each.size) for each in found] == [("a.txt", 5), ("b/a", 3), ("b/z", 3), ("c", 1)]
    assert (found[0].mode, found[3].mode) == (0o640, 0o755)


def test_a_single_file_is_named_by_its_base_name_and_may_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.img").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    (found,) = source.of_path(Path("x.img"))
    assert (found.path, found.size) == ("x.img", 0)


def test_a_link_that_the_operator_names_is_the_file_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "gateway-2.4.1.img").write_text("data")
    (tmp_path / "latest.img").symlink_to("gateway-2.4.1.img")
    (found,) = source.of_path(tmp_path / "latest.img")
    assert (found.path, found.size) == ("latest.img", 4)
    os.close(found.open())


def _link(folder: Path) -> str:
    (folder / "link").symlink_to("/etc/passwd")
    return "link: a symbolic link"


def _dangling(folder: Path) -> str:
    (folder / "dangling").symlink_to("nowhere")
    return "dangling: a symbolic link"


def _linked_folder(folder: Path) -> str:
    (folder / "etc").symlink_to("/etc", target_is_directory=True)
    return "etc: a symbolic link"


def _empty_folder(folder: Path) -> str:
    (folder / "hollow").mkdir()
    return "hollow: an empty folder"


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe: it is a device, pipe or socket"


def _socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "sock"))
    return "sock: it is a device, pipe or socket"


def _clash(folder: Path) -> str:
    (folder / "A").write_text("")
    (folder / "a").write_text("")
    return "'A' and 'a' clash"


def _control_character(folder: Path) -> str:
    (folder / "new\nline").write_text("")
    return "control character"


def _not_utf8(folder: Path) -> str:
    (folder / os.fsdecode(b"\xff")).write_text("")
    return "broken Unicode"


def _not_nfc(folder: Path) -> str:
    (folder / "u\u0308").write_text("")
    return "normal form C"


def _backslash(folder: Path) -> str:
    (folder / "a\\b").write_text("")
    return "backslash"


@pytest.mark.parametrize(
    "spoil",
    [
        _link, _dangling, _linked_folder, _empty_folder, _pipe, _socket, _clash, _control_character, _not_utf8,
        _not_nfc, _backslash,
    ],
)  # fmt: skip
def test_what_an_image_can_not_carry_is_refused_by_name(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    (tmp_path / "good").write_text("")
    said = spoil(tmp_path)
    with pytest.raises(Refused) as caught:
        source.of_path(tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_nothing_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds no files"):
        source.of_path(tmp_path)
    with pytest.raises(NotFound, match="no such file or folder"):
        source.of_path(tmp_path / "gone")
    with pytest.raises(Refused, match="device, pipe or socket"):
        source.of_path(Path("/dev/null"))


def test_a_file_that_changed_since_it_was_found_is_not_published(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    (found,) = source.of_path(file)
    file.write_text("another")
    with pytest.raises(Refused, match="changed while it was being published"):
        found.open()
    file.unlink()
    with pytest.raises(Refused, match="no such file"):
        found.open()
    file.symlink_to("/etc/passwd")
    with pytest.raises(Refused):
        found.open()
