"""Reads what is to be unpacked out of dfedge.pyz, and proves all of the file while at it."""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from onefile.boot.build import MEMBER, Build, Native, damaged

LIB: Final = "lib/"


def contents(file: Path, build: Build, native: Native) -> dict[str, bytes]:
    """What belongs on sys.path: path and bytes of each file. Raises Unfit where any byte is not as built."""
    found, digests, packed = {}, [], b""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                if name != MEMBER:
                    digests.append((name, sha256(data).hexdigest()))
                if name.startswith(LIB):
                    found[name.removeprefix(LIB)] = data
                elif name == native.member:
                    packed = data
        if build.identify(digests) != build.id:
            raise damaged()
        found.update(unpacked(packed))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise damaged() from error
    return found


def unpacked(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a `.tar.xz`. They are ours: the file's id covers them."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:xz") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None:
                yield member.name, stream.read()
