"""A bundle as it is read: part after part, record after record, up to where it is cut short."""

import os
from collections.abc import Awaitable, Callable
from threading import Lock

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
        self._turn = Lock()
        self._found: Record | Exception | None = None  # after the pieces that `read_piece` gave

    def read_piece(self, wants: Callable[[Place], bool]) -> tuple[int, bytes] | None:
        """Number and bytes of the next piece that somebody `wants`, read in the calling thread; threads take turns.

        None where something else comes: another record, the end of the part, bytes that can't be read. `next` has it.
        """
        assert self.part is not None
        with self._turn:
            if self._found is not None:
                return None
            try:
                record = self.part.next(wants)
            except (EOFError, ValueError, OSError) as error:
                self._found = error
                return None
            if record.kind is not Kind.PIECE:
                self._found = record
                return None
        return record.piece, record.payload

    async def next(self, wants: Callable[[Place], bool]) -> Record | None:
        """The next record that is no piece nobody `wants`; none at the end.

        Raises Untrusted for another fleet's bundle; Corrupt or Refused for what is none.
        """
        while True:
            if self.part is None and not await self._begin_part():
                return None
            assert self.part is not None
            try:
                record = await self._record(self.part, wants)
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

    async def _record(self, part: PartReader, wants: Callable[[Place], bool]) -> Record:
        found, self._found = self._found, None
        if isinstance(found, Exception):
            raise found
        return found if found is not None else await to_thread.run_sync(part.next, wants)

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
