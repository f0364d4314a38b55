"""What goes in, and the one way it is written: the same parts give the same bytes."""

import io
import lzma
import re
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from onefile.boot.archive import LIB
from onefile.boot.build import MEMBER, Build
from onefile.target import Target

# Python reads the second line only where it can't read the archive, and then says: "unknown encoding: dfedge.pyz-is…".
PREFIX: Final = b"#!/usr/bin/env python3\n# coding: dfedge.pyz-is-damaged-or-cut-short.copy-it-anew\n"
DICTIONARY: Final = 16 * 1024 * 1024  # bytes: as much again is needed to unpack, on a board too
BOOT: Final = Path(__file__).with_name("boot")
_KEPT: Final = re.compile(r".*\.py|.*/py\.typed")
_COMPILED: Final = re.compile(r".*\.so(\.\d+)*")  # modules, and the libraries that some wheels bring along
_UNUSED: Final = re.compile(
    r"anyio/(pytest_plugin|_backends/_trio)\.py|psutil/_ps(aix|bsd|osx|sunos|windows)\.py|rich/(_emoji_codes_|__main__).*"
    r"|cffi/.*|pycparser/.*|.*/tests?/.*"
)


def pure(wheels: Iterable[Path]) -> dict[str, bytes]:
    """The Python modules of these wheels, and the licences under `licenses/`."""
    found = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                folder, _, rest = name.partition(".dist-info/")
                if rest:
                    if re.search(r"licen[cs]e|copying|notice", name, re.I) and not name.endswith("/"):
                        found[f"licenses/{folder}/{Path(name).name}"] = archive.read(name)
                elif _KEPT.fullmatch(name) and not _UNUSED.fullmatch(name):
                    found[name] = archive.read(name)
    return found


def compiled(wheels: Iterable[Path]) -> dict[str, bytes]:
    """The compiled modules of these wheels."""
    found = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            found.update({name: archive.read(name) for name in archive.namelist() if _COMPILED.fullmatch(name)})
    return found


def natives(modules: Mapping[str, bytes], target: Target) -> bytes:
    """The `.tar.xz` of a machine's compiled modules, stripped."""
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(modules):
            data = _stripped(modules[name], target)
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    filters: list[dict[str, int]] = [{"id": target.binary_filter}] if target.binary_filter else []
    filters.append({"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": DICTIONARY})
    return lzma.compress(tarred.getvalue(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


def package(root: Path) -> dict[str, bytes]:
    """dfedge itself."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted((root / "dfedge").rglob("*.py"))}


def write(output: Path, build: Build, lib: Mapping[str, bytes], archives: Mapping[str, bytes], epoch: int) -> str:
    """Write the file, whole or not at all, and return the build's id. `epoch` is every member's time, in seconds."""
    members = {f"onefile/boot/{path.name}": path.read_bytes() for path in BOOT.glob("*.py") if path.name != "entry.py"}
    members["onefile/__init__.py"] = BOOT.with_name("__init__.py").read_bytes()
    members["__main__.py"] = (BOOT / "entry.py").read_bytes()
    members.update({f"{LIB}{name}": data for name, data in lib.items()})
    members.update(archives)
    build_id = build.identify((name, sha256(data).hexdigest()) for name, data in members.items())
    members[MEMBER] = Build(build.version, build.natives, build_id).text().encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(f".{output.name}.new")
    with new.open("wb") as file:
        file.write(PREFIX)
        with zipfile.ZipFile(file, "w") as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(name, time.gmtime(max(epoch, 315532800))[:6])  # a zip's times begin in 1980
                info.external_attr = 0o644 << 16
                stored = name.startswith("native/")
                info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                archive.writestr(info, members[name], compresslevel=9)
    new.chmod(0o755)
    new.replace(output)
    return build_id


def _stripped(data: bytes, target: Target) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "module.so"
        file.write_bytes(data)
        subprocess.run([target.strip, "--strip-unneeded", file], check=True)
        return file.read_bytes()
