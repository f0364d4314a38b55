"""Which compiled parts fit: machine, libc and Python, or one line that says what does not."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES

from onefile.boot.build import GLIBC, MUSL, Build, Native, Unfit


@dataclass(frozen=True, slots=True)
class Machine:
    """What we run on. `libc` is its C library's version, if it is known; `python` as in "311"."""

    name: str
    libc: tuple[int, ...] | None
    python: str
    free_threaded: bool
    musl: bool = False

    @classmethod
    def here(cls) -> "Machine":
        """This one. A 32-bit Python under a 64-bit kernel is what the Python is."""
        name = os.uname().machine
        if sys.maxsize < 2**32:
            name = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(name, name)
        python = f"{sys.version_info[0]}{sys.version_info[1]}"
        musl = any("-linux-musl" in suffix for suffix in EXTENSION_SUFFIXES)  # what this Python was built for
        return cls(name, _musl(name) if musl else _glibc(), python, "t" in sys.abiflags, musl)

    @property
    def family(self) -> str:
        """The C library's."""
        return MUSL if self.musl else GLIBC if self.libc else "neither glibc nor musl"


def choose(build: Build, here: Machine) -> Native:
    """Find the compiled parts for this machine. Raises Unfit."""
    native = next((native for native in build.natives if native.machine == here.name), None)
    if native is None:
        raise Unfit(f"this machine is {here.name}, this file is for {_list([n.machine for n in build.natives])}",
                    "build one: scripts/build-zipapp --targets, or pip install dfedge")  # fmt: skip
    if here.family != native.family:
        flag = " --musl" if here.musl else ""
        raise Unfit(f"this system's C library is {here.family}, this file is for {native.family}",
                    f"scripts/build-zipapp{flag} builds another, or pip install dfedge")  # fmt: skip
    if here.libc is not None and here.libc < native.libc:
        have, need = (".".join(map(str, libc)) for libc in (here.libc, native.libc))
        raise Unfit(f"this system has {here.family} {have}, on {here.name} {need} is needed",
                    "Alpine 3.18 has 1.2.4" if here.musl else "Debian 12 has 2.36")  # fmt: skip
    if here.free_threaded:
        raise Unfit("this is a free-threaded Python, for which there are no compiled parts", "python3 dfedge.pyz")
    if here.python not in native.pythons:
        raise Unfit(f"this is Python {_dotted(here.python)}, on {here.name} this file is for "
                    f"{_list([_dotted(python) for python in native.pythons])}",
                    f"python{_dotted(native.pythons[-1])} dfedge.pyz")  # fmt: skip
    return native


def _musl(name: str) -> tuple[int, ...] | None:
    """Its loader tells its version, and nobody else does; it stands in one place on every system."""
    import subprocess

    try:
        done = subprocess.run([f"/lib/ld-musl-{name}.so.1"], capture_output=True, text=True, check=False, timeout=5)
        word = done.stderr.partition("Version ")[2].split()[0]
        return tuple(int(part) for part in word.split("."))
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        return None


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
