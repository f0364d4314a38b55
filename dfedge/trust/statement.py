"""A signed statement as it is kept and sent: one file with the body and its signature.

Spelling: canonical msgpack [body, signature]. The body is a canonical array that starts with its type, its format and
the id of the fleet it speaks for, so one kind of statement or one fleet's can never be taken for another's.
"""

from typing import Final

from dfedge.core.canonical import MAX_INT, Value, pack, unpack
from dfedge.core.errors import Untrusted
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.signature import MAX_SIGNATURE, Namespace, sign, verify
from dfedge.trust.signers import AllowedSigners, Signer

asyncssh_lean()

import asyncssh  # noqa: E402

FORMAT: Final = 1


def seal(body: bytes, key: asyncssh.SSHKey, namespace: Namespace) -> bytes:
    """Sign a body and put both into one."""
    return pack((body, sign(key, body, namespace)))


def split(data: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """Return body and signature, neither of them believed yet. Raises ValueError."""
    match unpack(data, max_bytes):
        case (bytes(body), bytes(signature)):
            if len(signature) > MAX_SIGNATURE:
                raise ValueError(f"a signature of {len(signature):,} bytes, the most is {MAX_SIGNATURE:,}")
            return body, signature
        case _:
            raise ValueError("not a body with its signature")


def by_ca(ca_keys: tuple[asyncssh.SSHKey, ...]) -> AllowedSigners:
    """The CA keys of a root, as those who may sign statements about the fleet and its nodes."""
    spaces = tuple(space.value for space in (Namespace.ROOT, Namespace.REVOCATION, Namespace.NODE))
    return AllowedSigners(tuple(Signer("ca", key, spaces) for key in ca_keys), "the fleet's root")


def check_signature(
    body: bytes, signature: bytes, namespace: Namespace, ca_keys: tuple[asyncssh.SSHKey, ...], subject: str
) -> None:
    """Raises Untrusted unless one of the CA keys signed the body for this purpose."""
    try:
        verify(body, signature, namespace, by_ca(ca_keys), now=0.0)
    except Untrusted as error:
        raise Untrusted(f"{subject}: {error}", error.hint) from error


def fields(body: bytes, type_: str, max_bytes: int) -> tuple[str, tuple[Value, ...]]:
    """Return the fleet a body speaks for and the fields after it. Raises ValueError for another type or format."""
    match unpack(body, max_bytes):
        case (str(said), int(format_), str(fleet), *rest) if type(format_) is int:
            if (said, format_) != (type_, FORMAT):
                raise ValueError(f"a {said[:40]!r} of format {format_}, here belongs {type_!r} of format {FORMAT}")
            return fleet, tuple(rest)
        case _:
            raise ValueError(f"not a {type_}")


def number(value: Value, name: str, least: int = 0) -> int:
    """Return `value` if it is an integer in range. Raises ValueError."""
    if type(value) is not int or not least <= value <= MAX_INT:
        raise ValueError(f"{name} is not a number from {least}")
    return value


def text(value: Value, name: str) -> str:
    """Return `value` if it is text. Raises ValueError."""
    if type(value) is not str:
        raise ValueError(f"{name} is not text")
    return value


def array(value: Value, name: str) -> tuple[Value, ...]:
    """Return `value` if it is an array. Raises ValueError."""
    if type(value) is not tuple:
        raise ValueError(f"{name} is not an array")
    return value
