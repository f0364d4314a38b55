"""Descriptions of images, as in firmware_images/."""

from pathlib import Path

import pytest

from dfedge.cli import description
from dfedge.core.errors import DfedgeError, NotFound, UsageError

GOOD = """
[image]
name = "gateway/os"
version = "2.4.1"
compatible = ["acme,gateway-2"]

[[files]]
path = "boot/kernel"
source = ["gone/kernel", "kernel"]
from = "linux-image"

[[files]]
path = "rootfs"
source = "root.img"

[hooks]
install = ["rauc", "install"]
"""


def read(folder: Path, text: str) -> description.Description:
    (folder / "image.toml").write_text(text)
    (folder / "kernel").write_text("k")
    (folder / "root.img").write_text("r")
    return description.read(folder / "image.toml")


def test_a_description_names_the_image_and_finds_its_files(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert (found.name, found.version, found.compatible) == ("gateway/os", "2.4.1", ("acme,gateway-2",))
    assert found.files == (("boot/kernel", tmp_path / "kernel"), ("rootfs", tmp_path / "root.img"))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name =", "nam =", 3, 'image.nam is not known here; did you mean "name"?'),
        ("[hooks]", "[hook]", 16, 'hook is not known here; did you mean "hooks"?'),
        ('name = "gateway/os"', 'name = "OS"', 3, "image.name is wrong"),
        ('name = "gateway/os"', "", 2, "image.name is missing"),
        ('"2.4.1"', '"2 4"', 4, "image.version is wrong"),
        ('"2.4.1"', "2.4", 4, "image.version is not a text"),
        ('["acme,gateway-2"]', '"acme"', 5, "image.compatible is not a list"),
        ('path = "rootfs"', 'path = "../rootfs"', 13, "files.path is wrong"),
        ('path = "rootfs"', 'path = "/rootfs"', 13, "files.path is wrong"),
        ('source = "root.img"', 'sorce = "root.img"', 14, 'files.sorce is not known here; did you mean "source"?'),
        ('source = "root.img"', "source = 3", 14, "files.source is not a path"),
        ('"rootfs"', '"rootfs', 13, "not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path}/image.toml:{line}: {words}")


def test_a_source_that_is_not_there_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"image.toml:9: .*gone/kernel or .*gone2 is not there") as caught:
        read(tmp_path, GOOD.replace('"kernel"]', '"gone2"]'))
    assert caught.value.hint == "apt-get install linux-image"


def test_a_description_without_files_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no file"):
        read(tmp_path, '[image]\nname = "a"\nversion = "1"\n')


def test_toml_that_describes_no_image_is_a_file_like_others(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[store]\nquota = 1\n")
    assert not description.is_description(tmp_path / "settings.toml")
    assert not description.is_description(tmp_path)
    (tmp_path / "broken.toml").write_text("[image]\nname = \n")
    assert description.is_description(tmp_path / "broken.toml")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[3] / "firmware_images").glob("*.toml")), ids=str)
def test_the_descriptions_that_come_with_dfedge_are_right(file: Path) -> None:
    assert description.is_description(file)
    try:
        description.read(file)
    except NotFound:
        pass  # what it takes its files from is not installed here
    except DfedgeError as error:
        pytest.fail(str(error))
