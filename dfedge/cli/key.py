"""Keys as they are pressed, without Enter; the terminal is put back as it was."""

import os
import select
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

LEAVE: Final = b"qQ\x04"  # and Ctrl-D
_LFLAG, _CC = 3, 6  # of termios attributes

Wait = Callable[[float], bool]
"""Waits so many seconds, or until somebody wants to leave: then it is true."""


@contextmanager
def keys(stdin: TextIO) -> Iterator[Wait]:
    """Read keys for as long as the block lasts; where there is no terminal to read from, there are none."""
    if not stdin.isatty():
        yield _sleep
        return
    fd = stdin.fileno()
    before = termios.tcgetattr(fd)
    attributes = termios.tcgetattr(fd)
    attributes[_LFLAG] &= ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays a signal
    attributes[_CC][termios.VMIN], attributes[_CC][termios.VTIME] = 1, 0
    attributes[_CC][termios.VSUSP] = b"\0"  # Ctrl-Z would leave a shell in a screen that is ours
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, attributes)
        yield lambda seconds: _pressed(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(fd: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        pressed = os.read(fd, 64)
        if not pressed or any(key in LEAVE for key in pressed):  # nothing at all: the terminal is gone
            return True
