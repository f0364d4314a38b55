"""The operator's folder: the fleet's CA key, its signer, and what was issued. Whoever reads it rules the fleet."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, NotFound, Untrusted
from dfedge.trust import file
from dfedge.trust.credentials import ALLOWED, RECORD, REVOCATION, ROOT, read_allowed
from dfedge.trust.identity import check_node_name
from dfedge.trust.key import load_private, raw_public
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.record import MAX_RECORD, NodeRecord, open_record
from dfedge.trust.revocation import MAX_REVOCATION, Revocation, open_revocation
from dfedge.trust.root import MAX_ROOT, Root, open_root
from dfedge.trust.signers import MAX_TEXT, AllowedSigners

asyncssh_lean()

import asyncssh  # noqa: E402

CA: Final = "ca"
SIGNER: Final = "signer"
NODES: Final = "nodes"
MAX_NODES: Final = 100_000


@dataclass(frozen=True, slots=True)
class FleetFolder:
    """A fleet as its operator holds it, verified."""

    path: Path
    root: Root
    root_data: bytes
    allowed: AllowedSigners
    revocation: Revocation
    revocation_data: bytes

    @classmethod
    def open(cls, path: Path) -> "FleetFolder":
        """Read and verify the folder. Raises NotFound if no fleet is there; Untrusted, Refused, Corrupt."""
        if not (path / ROOT).exists():
            raise NotFound(f"{path}: no fleet is here", f"dfedge fleet init {path}")
        file.check_folder(path)
        root_data = file.read(path / ROOT, MAX_ROOT)
        root = open_root(root_data, f"{path}/{ROOT}")
        allowed = read_allowed(file.read(path / ALLOWED, MAX_TEXT), f"{path}/{ALLOWED}")
        revocation_data = file.read(path / REVOCATION, MAX_REVOCATION)
        revocation = open_revocation(revocation_data, root, f"{path}/{REVOCATION}")
        return cls(path, root, root_data, allowed, revocation, revocation_data)

    def ca(self) -> asyncssh.SSHKey:
        """The CA's private key. Raises NotFound, Corrupt; Untrusted if it is not this fleet's or others may read it."""
        key = load_private(self.path / CA)
        if raw_public(key) != self.root.ca[0]:
            raise Untrusted(f"{self.path / CA}: not the CA key of fleet {self.root.fleet}")
        return key

    def record(self, name: str) -> NodeRecord | None:
        """The newest record issued under that name, if there is one. Raises Untrusted, Corrupt."""
        path = self.path / NODES / name / RECORD
        data = file.read_if_there(path, MAX_RECORD)
        if data is None:
            return None
        record = open_record(data, self.root, str(path))
        if record.name != name:
            raise Corrupt(f"{path}: is the record of {record.name}")
        return record

    def names(self) -> list[str]:
        """The names of all nodes ever enrolled, sorted."""
        try:
            entries = sorted(entry.name for entry in (self.path / NODES).iterdir())
        except OSError as error:
            raise file.told(error, self.path / NODES) from error
        return [name for name in entries[:MAX_NODES] if _is_name(name)]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder alone: two commands at once must not issue one serial or one sequence twice."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no fleet is here", f"dfedge fleet init {path}") from error
    except OSError as error:
        raise file.told(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_name(name: str) -> bool:
    try:
        check_node_name(name)
    except ValueError:  # a folder somebody else put there, or one being built
        return False
    return True
