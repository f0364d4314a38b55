"""The one spelling of data that is hashed, signed or sent: canonical msgpack.

Only None, bool, int, str, bytes and arrays (tuples) exist: no maps, so no key order and no duplicates; no floats, no
extension types. Whatever does not pack back to the very same bytes is refused, so no value has two spellings.
"""

from typing import Final

import msgpack

Value = None | bool | int | str | bytes | tuple["Value", ...]

MAX_DEPTH: Final = 8  # nesting of arrays; our deepest, the manifest, has 5
MAX_INT: Final = 2**63 - 1
_PLAIN: Final = frozenset({bool, bytes, int, str, type(None)})


def pack(value: Value) -> bytes:
    """Spell `value`. Raises ValueError for what has no spelling, such as a number beyond 64 bits."""
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True, strict_types=False)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return packed


def unpack(data: bytes, max_bytes: int) -> Value:
    """Read one value of at most `max_bytes`. Raises ValueError, and nothing else, for anything not in its one spelling.

    Where the sender is not yet trusted keep `max_bytes` at or under 64 KiB: objects are up to 44 times their bytes.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data):,} bytes, the most is {max_bytes:,}")
    try:
        value: Value = msgpack.unpackb(
            data, use_list=False, raw=False, strict_map_key=True, max_map_len=0, max_ext_len=0, max_array_len=max_bytes
        )
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"not canonical msgpack: {type(error).__name__} {error}".rstrip()) from None
    except Exception as error:  # msgpack's own family grows with its versions
        raise ValueError(f"not canonical msgpack: {type(error).__name__}") from error
    _check(value, MAX_DEPTH)
    if pack(value) != data:
        raise ValueError("not in its one spelling")
    return value


def _check(value: Value, depth: int) -> None:
    if isinstance(value, tuple):
        if depth == 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        for item in value:
            if type(item) not in _PLAIN:  # nearly all are
                _check(item, depth - 1)
    elif value is not None and not isinstance(value, (bool, int, str, bytes)):
        raise ValueError(f"a {type(value).__name__} has no place here")
