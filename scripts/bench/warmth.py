"""Memory that is there before the clock: a virtual machine's host takes freed pages back, and gives them one by one.

Here a GiB written to such pages cost 2.4 to 2.9 s of CPU instead of 0.3 s, from some 10 s after they were freed on. So
whoever ran soonest after somebody's end won, by no merit of its own; and a board has its memory.
"""

import os
from typing import Final

import psutil

CHUNK: Final = bytes(1024 * 1024)
PROCESSES: Final = 512 * 1024 * 1024  # bytes that the processes themselves may come to take


def warm(nbytes: int) -> None:
    """Touch so many bytes of free memory and those of the processes, half of what is available at most."""
    left = min(nbytes + PROCESSES, psutil.virtual_memory().available // 2)
    file = os.memfd_create("warm")
    try:
        while left > 0:
            left -= os.write(file, CHUNK)
    finally:
        os.close(file)
