"""The machines that a file can be for, and what wheels fit each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from onefile.boot.build import GLIBC, MUSL, Native


@dataclass(frozen=True, slots=True)
class Target:
    """A machine and its C library. `tags` are pip's platforms; `cross`: what has no wheel is built here."""

    machine: str
    tags: tuple[str, ...]
    libc: tuple[int, ...]
    pythons: tuple[str, ...]
    triplet: str
    binary_filter: int | None = None  # lzma's filter for such code
    cross: bool = False
    family: str = GLIBC

    @property
    def native(self) -> Native:
        """As the file describes it."""
        return Native(self.machine, self.libc, self.pythons, self.family)

    @property
    def strip(self) -> str:
        """The command that strips such code."""
        return f"{self.triplet}-strip"


X86, ARM = 0x04, 0x07  # lzma.FILTER_X86, lzma.FILTER_ARM
TARGETS: Final[Mapping[str, Target]] = {
    target.machine: target
    for target in (
        Target(
            "x86_64",
            ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64"),
            (2, 28),
            ("311", "312", "313", "314"),
            "x86_64-linux-gnu",
            X86,
        ),
        Target(
            "aarch64",
            ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
            (2, 28),
            ("311", "312", "313", "314"),
            "aarch64-linux-gnu",
        ),
        Target(
            "armv7l",
            ("manylinux_2_31_armv7l",),
            (2, 34),
            ("311", "313", "314"),
            "arm-linux-gnueabihf",
            ARM,
            cross=True,
        ),
    )
}
MUSL_TARGETS: Final[Mapping[str, Target]] = {
    machine: replace(
        TARGETS[machine],
        tags=(f"musllinux_1_2_{machine}", f"musllinux_1_1_{machine}"),
        libc=(1, 2, 4),  # older ones crash on the relocations (RELR) of cryptography's libgcc_s
        family=MUSL,
    )
    for machine in ("x86_64", "aarch64")
}
