"""Which compiled parts fit: machine, libc and Python, or one line that says what does not."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from onefile.boot.build import Build, Native, Unfit


@dataclass(frozen=True, slots=True)
class Machine:
    """What we run on. `libc` is None unless it is glibc; `python` as in "311"."""

    name: str
    libc: tuple[int, int] | None
    python: str
    free_threaded: bool

    @classmethod
    def here(cls) -> "Machine":
        """This one. A 32-bit Python under a 64-bit kernel is what the Python is."""
        name = os.uname().machine
        if sys.maxsize < 2**32:
            name = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(name, name)
        python = f"{sys.version_info[0]}{sys.version_info[1]}"
        return cls(name, _glibc(), python, "t" in sys.abiflags)


def choose(build: Build, here: Machine) -> Native:
    """Find the compiled parts for this machine. Raises Unfit."""
    native = next((native for native in build.natives if native.machine == here.name), None)
    if native is None:
        raise Unfit(f"this machine is {here.name}, this file is for {_list([n.machine for n in build.natives])}",
                    "build one: scripts/build-zipapp --targets, or pip install dfedge")  # fmt: skip
    if here.libc is None:
        raise Unfit("this system's C library is not glibc (musl?), this file needs glibc", "pip install dfedge")
    if here.libc < native.libc:
        have, need = (".".join(map(str, libc)) for libc in (here.libc, native.libc))
        raise Unfit(f"this system has glibc {have}, on {here.name} {need} is needed", "Debian 12 has 2.36")
    if here.free_threaded:
        raise Unfit("this is a free-threaded Python, for which there are no compiled parts", "python3 dfedge.pyz")
    if here.python not in native.pythons:
        raise Unfit(f"this is Python {_dotted(here.python)}, on {here.name} this file is for "
                    f"{_list([_dotted(python) for python in native.pythons])}",
                    f"python{_dotted(native.pythons[-1])} dfedge.pyz")  # fmt: skip
    return native


def _glibc() -> tuple[int, int] | None:
    try:
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = words[1].split(".")[:2]
        return int(major), int(minor)
    except (ValueError, IndexError, OSError):
        return None


def _dotted(python: str) -> str:
    return f"{python[0]}.{python[1:]}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
