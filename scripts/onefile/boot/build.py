"""What a file holds: its version, its id, and the machines it is for; one member of the archive called `build`."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

MEMBER: Final = "build"
ID_DIGITS: Final = 64
GLIBC, MUSL = "glibc", "musl"


class Unfit(Exception):
    """dfedge can't run here or from this file; told in one line, with what would do in `hint`."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Native:
    """The compiled parts for one machine. `libc` is the least version of its family; `pythons` as in "311"."""

    machine: str
    libc: tuple[int, ...]
    pythons: tuple[str, ...]
    family: str = GLIBC

    @property
    def member(self) -> str:
        """Where in the archive they are."""
        return f"native/{self.machine}{'' if self.family == GLIBC else f'-{self.family}'}.tar.xz"


@dataclass(frozen=True, slots=True)
class Build:
    """One build of dfedge.pyz. The id is the SHA-256 of everything else in it."""

    version: str
    natives: tuple[Native, ...]
    id: str = ""

    def described(self) -> str:
        """All but the id, a line each."""
        lines = [f"version {self.version}"]
        lines += [
            f"native {n.machine} {n.family}-{'.'.join(map(str, n.libc))} {','.join(n.pythons)}" for n in self.natives
        ]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The member `build`."""
        return f"{self.described()}id {self.id}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the member `build`. Raises Unfit where it is not one."""
        version, id_, natives = "", "", []
        try:
            for line in text.splitlines():
                kind, *rest = line.split()
                if kind == "version":
                    (version,) = rest
                elif kind == "id":
                    (id_,) = rest
                else:
                    machine, libc, pythons = rest
                    family, _, number = libc.partition("-")
                    least = tuple(int(part) for part in number.split("."))
                    natives.append(Native(machine, least, tuple(pythons.split(",")), family))
        except ValueError:
            id_ = ""
        if len(id_) != ID_DIGITS or set(id_) - set("0123456789abcdef"):
            raise damaged()
        return cls(version, tuple(natives), id_)

    def identify(self, members: Iterable[tuple[str, str]]) -> str:
        """Compute the id from each other member's name and SHA-256."""
        whole = sha256(self.described().encode())
        for name, digest in sorted(members):
            whole.update(f"{name}\0{digest}\n".encode())
        return whole.hexdigest()


def damaged() -> Unfit:
    """What a file that is not as it was built is told as."""
    return Unfit("dfedge.pyz is damaged: it is not as it was built", "copy it anew, and compare with sha256sum")
