"""Setting up the process itself, before the first large buffer is made."""

import ctypes
import gc
import resource
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
THRESHOLD: Final = 8 * 1024 * 1024  # bytes: blocks of 256 KiB come from the heap, not from a fresh mapping each
FILES: Final = 4096  # descriptors wanted: 64 sessions, 32 strangers, files


def tune_malloc() -> None:
    """Keep glibc from mapping and unmapping every block: system time in transfers falls to a third.

    And from a heap for each thread, eight for each core, of which each would keep up to `THRESHOLD` that is free.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl has no such knob
    mallopt(M_MMAP_THRESHOLD, THRESHOLD)
    mallopt(M_TRIM_THRESHOLD, THRESHOLD)
    mallopt(M_ARENA_MAX, 1)


def trim_malloc() -> None:
    """Give free memory back to the system, from the middle of the heap too."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def raise_file_limit() -> None:
    """Take as many descriptors as the hard limit allows, up to what we can need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle() -> None:
    """Start-up is over: what lives now lives on, so the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    trim_malloc()


def tidy() -> None:
    """Give back what is not needed any more: sessions that ended are cycles, few objects that hold large buffers."""
    gc.collect()
    trim_malloc()
