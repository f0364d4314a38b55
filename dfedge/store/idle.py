"""A thread whose reading waits for everybody else's: the kernel's idle class of I/O priority."""

import ctypes
import logging
import os
import platform
from typing import Final

_CALL: Final = {  # ioprio_set has no wrapper in libc
    "x86_64": 251, "i386": 289, "i686": 289, "aarch64": 30, "riscv64": 30, "loongarch64": 30,
    "armv6l": 314, "armv7l": 314, "armv8l": 314, "ppc64le": 273, "s390x": 282,
}  # fmt: skip
_WHO_THREAD: Final = 1
_CLASS_IDLE: Final = 3 << 13
log = logging.getLogger("dfedge.store")


def be_idle() -> None:
    """Put the calling thread into the idle class. Where the kernel has none it reads like all others."""
    number = _CALL.get(platform.machine())
    foreign = ctypes.sizeof(ctypes.c_long) == 4 and platform.machine() in ("x86_64", "aarch64", "riscv64")
    if number is None or foreign:  # a 32-bit program under a 64-bit kernel has other numbers
        log.debug("no idle class of I/O priority is known for %s", platform.machine())
        return
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(number, _WHO_THREAD, 0, _CLASS_IDLE) != 0:
        log.debug("no idle class of I/O priority: %s", os.strerror(ctypes.get_errno()))
