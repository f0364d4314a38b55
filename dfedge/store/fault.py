"""A failing disk, in the words of a user."""

import errno
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from dfedge.core.errors import Busy, Corrupt, DfedgeError, NoSpace

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_OVERRUN: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR)
_MEDIUM: Final = (errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.ENXIO, errno.EREMOTEIO)

P = ParamSpec("P")
T = TypeVar("T")


def disk_fault(path: Path, doing: str, error: OSError) -> DfedgeError:
    """Say what the disk did to us: NoSpace when it is full, Busy when we are overrun, else Corrupt. Raise it."""
    what = f"{path}: {doing}: {(error.strerror or str(error)).lower()}"
    if error.errno in _FULL:
        return NoSpace(what, hint="dfedge gc --dry-run")
    if error.errno in _OVERRUN:
        return Busy(what, hint="dfedge doctor")
    return Corrupt(what, hint="dfedge doctor")


def is_medium(error: OSError) -> bool:
    """Whether the bytes are not to be had from this disk any more, rather than not just now."""
    return error.errno in _MEDIUM


class Sufferer(Protocol):
    """Something that works on the disk."""

    def fault(self, doing: str, error: OSError) -> DfedgeError:
        """Note that the disk failed; returns what a user is told."""
        ...


S = TypeVar("S", bound=Sufferer)
Method = Callable[Concatenate[S, P], Awaitable[T]]


def told(doing: str) -> Callable[[Method[S, P, T]], Callable[Concatenate[S, P], Coroutine[Any, Any, T]]]:
    """Have a method raise what a user is told where the disk fails, never a bare OSError."""

    def decorate(method: Method[S, P, T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        @wraps(method)
        async def careful(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await method(self, *args, **kwargs)
            except OSError as error:
                raise self.fault(doing, error) from error

        return careful

    return decorate
