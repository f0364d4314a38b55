"""What went beyond the LAN today and this month, kept over a restart: `STATE/uplink`."""

import json
import logging
from datetime import date
from pathlib import Path
from typing import Final

from dfedge.core.errors import DfedgeError
from dfedge.throttle.quota import Used
from dfedge.trust import file

NAME: Final = "uplink"
MAX_BYTES: Final = 4096
log = logging.getLogger("dfedge.node")


class UplinkFile:
    """The file of one node."""

    def __init__(self, state: Path) -> None:
        self._path = state / NAME

    def read(self) -> Used | None:
        """What is kept; None where nothing is, or where it is broken, which costs a line in the log."""
        try:
            data = file.read_if_there(self._path, MAX_BYTES)
            return None if data is None else _parse(data)
        except (DfedgeError, ValueError) as error:
            log.warning("bytes spent counted anew file=%s error=%s", self._path, error)
            return None

    def write(self, used: Used) -> None:
        """Keep it. Raises NoSpace, Refused or Corrupt."""
        document = {"day": used.day.isoformat(), "in_day": used.in_day, "in_month": used.in_month}
        file.write(self._path, json.dumps(document).encode(), file.PRIVATE)


def _parse(data: bytes) -> Used:
    match json.loads(data):
        case {"day": str(day), "in_day": int(in_day), "in_month": int(in_month)} if min(in_day, in_month) >= 0:
            return Used(date.fromisoformat(day), in_day, in_month)
        case _:
            raise ValueError("not what is spent of the uplink")
