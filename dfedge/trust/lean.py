"""Imports asyncssh without the parts that dfedge never uses.

A plain import looks for liboqs and nettle, for which it starts ldconfig and gcc (seconds on an SD card), and it loads
X.509.
"""

import ctypes.util
import sys
from typing import Final

_UNUSED: Final = ("asyncssh.crypto.x509", "asyncssh.crypto.umac")  # asyncssh guards both imports


def asyncssh_lean() -> None:
    """Import asyncssh with those parts stubbed for as long as it takes. Does nothing if it is imported already."""
    if "asyncssh" in sys.modules:
        return
    find_library = ctypes.util.find_library
    ctypes.util.find_library = lambda name: None  # noqa: ARG005
    for name in _UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a module as not to be found
    try:
        import asyncssh  # noqa: F401
    finally:
        ctypes.util.find_library = find_library
        for name in _UNUSED:
            sys.modules.pop(name, None)
