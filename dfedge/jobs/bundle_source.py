"""A bundle as it is read: part after part, record after record, up to where it is cut short."""

import os
from collections.abc import Awaitable, Callable

from anyio import to_thread

from dfedge.core.errors import Corrupt, Untrusted
from dfedge.core.image.bundle import Kind
from dfedge.store.bundle import PartReader, Place, Record

OpenPart = Callable[[int], Awaitable[int | None]]
"""Gives a descriptor of part number `n`, from 1, to read; none where there is no such part."""


class Source:
    """The records of a bundle of `fleet`. `cut` says why it ended early; empty where it was whole."""

    def __init__(self, fleet: str, open_part: OpenPart) -> None:
        self.cut = ""
        self.part: PartReader | None = None
        self._fleet = fleet
        self._open_part = open_part
        self._number = 0
        self._bundle = b""
        self._kept: list[PartReader] = []

    async def next(self, wants: Callable[[Place], bool]) -> Record | None:
        """The next record that is no piece nobody `wants`; none at the end.

        Raises Untrusted for another fleet's bundle; Corrupt or Refused for what is none.
        """
        while True:
            if self.part is None and not await self._begin_part():
                return None
            assert self.part is not None
            try:
                record = await to_thread.run_sync(self.part.next, wants)
            except EOFError:
                return self._cut(f"part {self._number} ends in the middle")
            except ValueError as error:
                return self._cut(f"part {self._number} is damaged: {error}")
            except OSError as error:
                return self._cut(f"part {self._number} can't be read: {(error.strerror or str(error)).lower()}")
            if record.kind is Kind.END:
                return None
            if record.kind is not Kind.NEXT:
                return record
            self._kept.append(self.part)
            self.part = None

    async def _begin_part(self) -> bool:
        self._number += 1
        fd = await self._open_part(self._number)
        if fd is None:
            if self._number == 1:
                raise Corrupt("there is no bundle")
            self.cut = f"part {self._number} is missing"
            return False
        try:
            part = await to_thread.run_sync(PartReader, fd, f"part {self._number}")
            header = part.header
            if header.fleet != self._fleet:
                raise Untrusted(f"the bundle is of fleet {header.fleet}, this is fleet {self._fleet}")
            if header.number != self._number or self._bundle not in (b"", header.bundle):
                raise Corrupt(f"part {self._number}: is part {header.number} of another bundle")
        except (Corrupt, OSError) as error:
            os.close(fd)
            if self._number == 1 and not isinstance(error, OSError):
                raise
            self.cut = str(error)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._bundle, self.part = header.bundle, part
        return True

    def _cut(self, why: str) -> Record | None:
        self.cut = why
        return None

    def close(self) -> None:
        """Close all parts."""
        for part in (*self._kept, *([self.part] if self.part else [])):
            part.close()
        self._kept, self.part = [], None
