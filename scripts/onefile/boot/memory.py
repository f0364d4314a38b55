"""Where nothing can be unpacked: Python modules come out of the archive, compiled ones from files in memory."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

from onefile.boot.build import Unfit


class InMemory(MetaPathFinder):
    """Finds compiled modules by their full names. Their memory is held until the process ends."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Take each file that this Python can load. Raises Unfit where the kernel gives no memory to run code from."""
        self._paths: dict[str, str] = {}
        for path, data in files.items():
            suffix = next((suffix for suffix in EXTENSION_SUFFIXES if path.endswith(suffix)), None)
            if suffix is not None:
                self._paths[path.removesuffix(suffix).replace("/", ".")] = _memory_file(path, data)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python asks every finder."""
        del path, target
        file = self._paths.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, file))


def use(files: Mapping[str, bytes], tried: Sequence[object]) -> None:
    """Make the compiled modules importable from memory. Raises Unfit."""
    try:
        sys.meta_path.insert(0, InMemory(files))
    except OSError as error:
        raise no_place(tried, (error.strerror or "").lower()) from error


def no_place(tried: Sequence[object], reason: str) -> Unfit:
    """What is told where neither a disk nor memory will do."""
    places = ", ".join(map(str, tried)) or "nowhere"
    return Unfit(
        f"can be unpacked neither to {places} nor to memory ({reason})",
        "DFEDGE_CACHE=DIR, a folder of yours on a disk that may run programs",
    )


def _memory_file(name: str, data: bytes) -> str:
    fd = os.memfd_create(name.rpartition("/")[2], os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return f"/proc/self/fd/{fd}"
