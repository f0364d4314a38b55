"""Whether dfedge can work on this machine at all: its modules, keys, SSH, database and hashes. Needs no fleet."""

import hashlib
import pkgutil
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

import dfedge
from dfedge.store.trial import try_sqlite
from dfedge.transfer.loopback import CIPHERS, loopback
from dfedge.trust.key import ALGORITHM, make_key, node_id

ABC: Final = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example 1
HASHED: Final = 8 * 1024 * 1024  # bytes
ECHOED: Final = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried, and what came of it."""

    name: str
    ok: bool
    text: str
    seconds: float


def examine() -> Iterator[Check]:
    """Try everything, one after the other; none raises."""
    yield _tried("imports", _imports)
    yield _tried("keys", _keys)
    for cipher in CIPHERS:
        yield _tried(f"ssh {cipher.partition('@')[0]}", partial(_ssh, cipher))
    yield _tried("sqlite", _sqlite)
    yield _tried("hashing", _hashing)


def _tried(name: str, check: Callable[[], str]) -> Check:
    started = time.monotonic()
    try:
        text, ok = check(), True
    except Exception as error:
        text, ok = f"{type(error).__name__}: {error}", False
    return Check(name, ok, text, round(time.monotonic() - started, 3))


def _imports() -> str:
    names = [module.name for module in pkgutil.walk_packages(dfedge.__path__, "dfedge.")]
    names = [name for name in names if not name.endswith("__main__")]
    for name in names:
        pkgutil.resolve_name(name)
    return f"{len(names)} modules"


def _keys() -> str:
    key = make_key("selftest")
    public, signature = key.convert_to_public(), key.sign(b"dfedge", ALGORITHM.encode())
    if not public.verify(b"dfedge", signature) or public.verify(b"dfedgf", signature):
        raise ValueError("a signature is not checked as it should be")
    return f"{ALGORITHM}, node {node_id(key)}"


def _ssh(cipher: str) -> str:
    agreed = anyio.run(loopback, cipher, secrets.token_bytes(ECHOED))
    if agreed != cipher:
        raise ValueError(f"{agreed} was agreed on, not {cipher}")
    return f"{ECHOED // 1024} KiB there and back"


def _sqlite() -> str:
    with tempfile.TemporaryDirectory(prefix="dfedge-selftest-") as folder:
        return try_sqlite(Path(folder))


def _hashing() -> str:
    if hashlib.sha256(b"abc").hexdigest() != ABC:
        raise ValueError("SHA-256 of abc is wrong")
    data = bytes(HASHED)
    started = time.monotonic()
    hashlib.sha256(data).digest()
    return f"SHA-256 at {HASHED / max(time.monotonic() - started, 1e-9) / 2**20:,.0f} MiB/s"
