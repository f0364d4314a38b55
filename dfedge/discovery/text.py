"""The TXT record of a node: what everybody on the LAN may read of it.

Strings of DNS-SD (RFC 6763, 6): `v` the protocol, `f` the fleet's tag, `i` the node's id, `p` free for hints of later
versions. All of it is a hint that the handshake proves or not, so unknown keys are passed over.
"""

import re
from dataclasses import dataclass
from typing import Final

from dfedge.core.seams import NodeId

VERSION: Final = 1
MAX_TEXT: Final = 512  # bytes; ours is about 75
TAG_LENGTH: Final = 8  # of a fleet's id: enough to pass over other fleets, too little to identify one
_ID: Final = re.compile(r"[a-z2-7]{52}")
_TAG: Final = re.compile(r"[a-z0-9]{8}")
_HINT: Final = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Text:
    """What a node says of itself. Raises ValueError for values that could not be one's."""

    fleet: str  # fleet_tag() of the fleet
    id: NodeId
    version: int = VERSION
    hint: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.version <= 255:
            raise ValueError(f"protocol version {self.version}, it is 1 to 255")
        if not _TAG.fullmatch(self.fleet):
            raise ValueError(f"fleet tag {self.fleet!r} is not 8 letters or digits")
        if not _ID.fullmatch(self.id):
            raise ValueError(f"node id {self.id[:60]!r} is not 52 letters of base32")
        if self.hint and not _HINT.fullmatch(self.hint):
            raise ValueError("hint is not 1 to 128 printable characters")


def fleet_tag(fleet: str) -> str:
    """The part of a fleet's id that a node shows to everybody."""
    return fleet[:TAG_LENGTH]


def encode(text: Text) -> bytes:
    strings = [f"v={text.version}", f"f={text.fleet}", f"i={text.id}"]
    if text.hint:
        strings.append(f"p={text.hint}")
    return b"".join(bytes([len(string)]) + string.encode("ascii") for string in strings)


def decode(data: bytes) -> Text:
    """Read a TXT record. Raises ValueError and nothing else, whatever the bytes."""
    if len(data) > MAX_TEXT:
        raise ValueError(f"TXT record of {len(data)} bytes, the most is {MAX_TEXT}")
    values: dict[str, str] = {}
    position = 0
    while position < len(data):
        end = position + 1 + data[position]
        if end > len(data):
            raise ValueError("TXT record is cut short")
        key, _, value = data[position + 1 : end].partition(b"=")
        position = end
        name = key.lower().decode("ascii", "replace")
        if name in ("v", "f", "i", "p"):
            if name in values:
                raise ValueError(f"TXT record says {name} twice")
            values[name] = value.decode("ascii", "replace")
    if missing := {"v", "f", "i"} - values.keys():
        raise ValueError(f"TXT record lacks {', '.join(sorted(missing))}")
    if not re.fullmatch(r"[1-9][0-9]{0,2}", values["v"]):
        raise ValueError(f"protocol version {values['v'][:8]!r} is not a number")
    return Text(values["f"], NodeId(values["i"]), int(values["v"]), values.get("p", ""))
