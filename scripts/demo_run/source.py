"""Where the images come from: Debian's firmware, the caller's file, or the largest file that is installed anyway."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from board import Broken, promise

DESCRIPTION: Final = Path(__file__).parents[2] / "firmware_images" / "aavmf.toml"
DOWNLOAD_S: Final = 60.0  # the most that fetching a package may take
SECOND_MIN: Final = 48 * 1024 * 1024  # bytes; at 100 Mbit/s 4 s, long enough to be killed in the middle


@dataclass(frozen=True, slots=True)
class Source:
    """An image to publish: its file, its name and version, and words on where it comes from."""

    path: str
    name: str
    version: str
    words: str

    @property
    def size(self) -> int:
        return Path(self.path).stat().st_size

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Source":
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def find(image: Path | None, folder: Path) -> Source:
    """Find the first image; what must be fetched for it goes into `folder`. Raises Broken."""
    if image is None:
        try:
            return _described(DESCRIPTION, folder)
        except Broken as error:
            return _largest_installed(str(error))
    promise(image.is_file(), f"{image}: no such file")
    if image.suffix == ".toml":
        return _described(image, folder)
    promise(image.stat().st_size > 0, f"{image}: is empty")
    return Source(str(image.resolve()), "demo", "1.0", f"{image}, as asked")


def scrambled(first: Source, folder: Path, seed: int, suffix: str) -> Source:
    """Make an image of at least 48 MiB out of the first, of which no piece is like any other."""
    data = Path(first.path).read_bytes()
    made = folder / f"{suffix}.img"
    noise = random.Random(seed)
    with made.open("wb") as out:
        while out.tell() < SECOND_MIN:
            mixed = int.from_bytes(data, "big") ^ int.from_bytes(noise.randbytes(len(data)), "big")
            out.write(mixed.to_bytes(len(data), "big"))
    return Source(str(made), first.name, f"{first.version}-{suffix}", "the first one scrambled, no two pieces alike")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(description: Path, folder: Path) -> Source:
    table = tomllib.loads(description.read_text(encoding="utf-8"))
    [file] = table["files"][:1]
    image, wanted, package = table["image"], Path(file["source"]), file.get("from", "")
    if wanted.is_file():
        words = f"{wanted} of the installed package {package}" if package else str(wanted)
        return Source(str(wanted), image["name"], image["version"], words)
    promise(bool(package) and shutil.which("apt-get") is not None, f"{wanted} is not here, and neither is apt-get")
    print(f"demo: fetching the package {package}", file=sys.stderr)
    unpacked = folder / "package"
    unpacked.mkdir()
    _unpack(package, unpacked)
    found = unpacked / wanted.relative_to("/")
    promise(found.is_file(), f"the package {package} does not hold {wanted}")
    return Source(str(found), image["name"], image["version"], f"{wanted} of the package {package}, fetched just now")


def _unpack(package: str, folder: Path) -> None:
    download = ["apt-get", "download", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10"]
    if os.geteuid() == 0:
        download += ["-o", "APT::Sandbox::User=root"]
    if not _quiet([*download, package], folder) and os.geteuid() == 0:
        _quiet(["apt-get", "update", "-q"], folder)
        _quiet([*download, package], folder)
    archive = next(folder.glob("*.deb"), None)
    if archive is None:
        raise Broken(f"apt-get could not fetch the package {package}")
    promise(_quiet(["dpkg", "-x", str(archive), "."], folder), f"dpkg could not unpack {archive.name}")


def _quiet(argv: list[str], folder: Path) -> bool:
    try:
        done = subprocess.run(
            argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=DOWNLOAD_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _largest_installed(why: str) -> Source:
    size, path, wheel = 0, Path(), ""
    for installed in distributions():
        for file in installed.files or ():
            here = Path(str(installed.locate_file(file)))
            if here.is_file() and not here.is_symlink() and here.stat().st_size > size:
                size, path, wheel = here.stat().st_size, here, f"{installed.name} {installed.version}"
    promise(size > 0, f"{why}; and no installed file to take instead")
    return Source(
        str(path), "demo", "1.0", f"{path.name}, the largest file of the installed wheels ({wheel}), as {why}"
    )
