"""The control channel's codec: u32 length (big-endian) + one canonical msgpack array [tag, field…]."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Final, get_args, get_type_hints

from dfedge.core.canonical import Value, pack, unpack
from dfedge.core.errors import ProtocolError
from dfedge.core.seams import Bytes
from dfedge.core.wire import message as m

PREFIX: Final = 4  # bytes of the length before each message

_BY_TAG: Final[dict[int, type[m.Message]]] = {
    1: m.Hello, 2: m.Revoked, 3: m.Catalogue, 4: m.Dropped, 5: m.AskManifest, 6: m.ManifestPart, 7: m.Join, 8: m.Leave,
    9: m.Have, 10: m.Choke, 11: m.Unchoke, 12: m.Bad, 13: m.Cancel, 14: m.Bye, 15: m.Lost, 16: m.Ping,
    17: m.Pong, 18: m.Warn, 19: m.Contacts, 20: m.Seek, 21: m.Found, 22: m.Strained,
}  # fmt: skip  # tags are never reused
_TAG: Final = {kind: tag for tag, kind in _BY_TAG.items()}
_NESTED: Final[tuple[type, ...]] = (m.Entry, m.Contact, m.Holder)
_NAMES: Final = {kind: tuple(each.name for each in fields(kind)) for kind in (*_BY_TAG.values(), *_NESTED)}
_HINTS: Final = {kind: tuple(get_type_hints(kind).values()) for kind in (*_BY_TAG.values(), *_NESTED)}

_PLAIN: Final = frozenset({int, bool, str, bytes})
_ITEMS: Final = {hint: get_args(hint)[0] for hints in _HINTS.values() for hint in hints if get_args(hint)}


def encode(message: m.Message) -> bytes:
    """Spell one message, without its length. Raises ValueError if it is over the limit."""
    data = pack((_TAG[type(message)], *_values(message)))
    if len(data) > m.MAX_MESSAGE:
        raise ValueError(f"{type(message).__name__} of {len(data):,} bytes, the most is {m.MAX_MESSAGE:,}")
    return data


def frame(message: m.Message) -> bytes:
    """Spell one message with its length, as it crosses the wire."""
    data = encode(message)
    return len(data).to_bytes(PREFIX, "big") + data


def decode(data: bytes) -> m.Message:
    """Read one message. Raises ProtocolError and nothing else, whatever the bytes.

    `unpack` lets only one spelling of a value pass, and exact types and counts only one value of a message.
    """
    try:
        match unpack(data, m.MAX_MESSAGE):
            case (int(tag), *values) if type(tag) is int and tag in _BY_TAG:
                kind: Callable[..., m.Message] = _BY_TAG[tag]
                return kind(*_typed(_BY_TAG[tag], tuple(values)))
            case _:
                raise ValueError("no such message")
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"not a message ({error}): {data[:16].hex()}") from error


class Splitter:
    """Cuts the control channel's bytes into messages. Holds at most one unfinished message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Bytes) -> Iterator[m.Message]:
        """Yield each message that `data` completes. Raises ProtocolError; the channel is of no use after it."""
        self._buffer += data
        while len(self._buffer) >= PREFIX:
            length = int.from_bytes(self._buffer[:PREFIX], "big")
            if not 0 < length <= m.MAX_MESSAGE:
                raise ProtocolError(f"message of {length:,} bytes, the most is {m.MAX_MESSAGE:,}")
            if len(self._buffer) < PREFIX + length:
                return
            message = bytes(self._buffer[PREFIX : PREFIX + length])
            del self._buffer[: PREFIX + length]
            yield decode(message)


def _values(message: m.Message) -> tuple[Value, ...]:
    return tuple(_spelt(getattr(message, name)) for name in _NAMES[type(message)])


def _spelt(value: object) -> Value:
    if type(value) is tuple and value and type(value[0]) in _NESTED:
        return tuple(tuple(getattr(item, name) for name in _NAMES[type(item)]) for item in value)
    return value  # type: ignore[return-value]  # a message holds nothing else


def _typed(kind: type, values: tuple[Value, ...]) -> tuple[object, ...]:
    """Check each value against its field's exact type: no True for 1."""
    hints = _HINTS[kind]
    if len(values) != len(hints):
        raise ValueError(f"{kind.__name__} has {len(hints)} fields, not {len(values)}")
    return tuple(_one(hint, value) for hint, value in zip(hints, values, strict=True))


def _one(hint: object, value: Value) -> object:
    if hint in _PLAIN:
        if type(value) is not hint:
            raise ValueError(f"a {type(value).__name__} where a {getattr(hint, '__name__', hint)} belongs")
        return value
    if type(value) is not tuple:
        raise ValueError(f"a {type(value).__name__} where an array belongs")
    item = _ITEMS[hint]
    if item in _PLAIN and {item}.issuperset(map(type, value)):
        return value
    if item in _NESTED:
        return tuple(item(*_typed(item, row)) for row in value if _is_array(row))  # type: ignore[arg-type]
    return tuple(_one(item, part) for part in value)


def _is_array(row: Value) -> bool:
    if type(row) is not tuple:
        raise ValueError("an entry that is not an array")
    return True
