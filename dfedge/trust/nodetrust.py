"""A node's trust: who it is, whose certificates, records and signatures it takes, and what time it is for that."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dfedge.core.errors import DfedgeError, NotFound, Untrusted
from dfedge.core.image.manifest import Manifest, image_id
from dfedge.core.seams import NodeId, PeerRecord
from dfedge.core.swarm.blame import Standing
from dfedge.core.units import short_digest
from dfedge.trust import bans, file
from dfedge.trust.certificate import Kind, check_certificate
from dfedge.trust.clock import BUILT, TrustClock, rule_asyncssh, wall_time
from dfedge.trust.credentials import NODE_KEY, RECORD, REVOCATION, ROOT, Credentials, check_credentials, read_files
from dfedge.trust.floor import Floors, revocation_floor, root_floor
from dfedge.trust.install import NODE, TRUST, finish
from dfedge.trust.key import node_id
from dfedge.trust.lean import asyncssh_lean
from dfedge.trust.record import open_record
from dfedge.trust.revocation import open_revocation
from dfedge.trust.root import open_root
from dfedge.trust.signature import Namespace, verify

asyncssh_lean()

import asyncssh  # noqa: E402

FLOORS: Final = "floors"
_WRITE: Final = "write "  # of a warning: what could not be written


class NodeTrust:
    """What `STATE/node` and `STATE/trust` say, verified. It is the wire's `Gate`."""

    def __init__(self, state_dir: Path, held: Credentials, floors: Floors, clock: TrustClock) -> None:
        self._trust = state_dir / TRUST
        self._held = held
        self._ca_keys = held.root.ca_keys()
        self._floors = floors
        self._floor = revocation_floor(held.root.fleet)
        self._clock = clock
        self._revocation = held.revocation
        self._revocation_data = held.files[REVOCATION]
        self._warnings: dict[str, str] = {}

    @classmethod
    def open(cls, state_dir: Path, wall: Callable[[], float] | None = None) -> "NodeTrust":
        """Read and verify this node's credentials, and make asyncssh judge certificates by our clock.

        Raises NotFound if the node has not joined a fleet; Untrusted if its key, certificates and root do not belong
        together, are readable by others, or have ended; Corrupt.
        """
        node, trust = state_dir / NODE, state_dir / TRUST
        finish(state_dir)
        if not (node / RECORD).exists() or not (trust / ROOT).exists():
            raise NotFound(f"{state_dir}: this node has not joined a fleet", "dfedge join DIR")
        for folder in (node, trust):
            file.check_folder(folder)
        floors = Floors.load(trust)
        now = max(wall() if wall else wall_time(), float(BUILT))  # the floor stays below our own certificate's end
        held = check_credentials(read_files(node, trust), node / NODE_KEY, state_dir, now)
        clock = TrustClock(floors, held.ends, wall) if wall else TrustClock(floors, held.ends)
        rule_asyncssh(clock.now, held.host, held.starts, held.ends)
        self = cls(state_dir, held, floors, clock)
        self._catch_up()
        return self

    def _catch_up(self) -> None:
        """Bring the floors up to what the files say; say so where the files are behind the floors."""
        if self._floors.broken:
            self._warn(FLOORS, f"{self._trust}: both floors files were broken, started anew from the build time")
        held = self._held
        files = {ROOT: (root_floor(self.fleet), held.root.version), REVOCATION: (self._floor, held.revocation.sequence)}
        for name, (floor, number) in files.items():
            seen = self._floors.get(floor)[1]
            if number < seen:
                self._warn(name, f"{self._trust}/{name}: number {number}, this node has seen {seen}; was it put back?")
        self._keep(FLOORS, lambda: self._floors.raise_all({floor: (0, number) for floor, number in files.values()}))
        self._proven(max(held.record.issued, held.root.made, held.revocation.issued), keep=True)

    @property
    def own(self) -> PeerRecord:
        """What the CA says of this node."""
        return self._held.record.peer

    @property
    def own_id(self) -> NodeId:
        return self._held.node

    @property
    def fleet(self) -> str:
        return self._held.root.fleet

    @property
    def fleet_name(self) -> str:
        """The fleet's name, for people; may be empty."""
        return self._held.root.name

    @property
    def own_record(self) -> bytes:
        return self._held.files[RECORD]

    @property
    def revocation(self) -> bytes:
        return self._revocation_data

    @property
    def root(self) -> bytes:
        """The fleet's signed root, as it travels."""
        return self._held.files[ROOT]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know: floors lost, files behind their floors, a disk that takes no writes."""
        return tuple(self._warnings.values())

    @property
    def unkept(self) -> str:
        """Why something we learned is not on disk yet; empty where all is."""
        return next((self._warnings[what] for what in self._warnings if what.startswith(_WRITE)), "")

    def keep_again(self) -> None:
        """Write again what the disk refused. With nothing refused it does nothing."""
        if _WRITE + REVOCATION in self._warnings:
            self._keep(REVOCATION, lambda: file.write(self._trust / REVOCATION, self._revocation_data))
        if _WRITE + FLOORS in self._warnings:
            self._keep(FLOORS, lambda: self._floors.raise_all({}))

    def read_bans(self) -> list[Standing]:
        """Who was banned when this node last ran, and still is."""
        return bans.read_bans(self._trust, self.now())

    def keep_bans(self, standing: Sequence[Standing]) -> None:
        """Have bans outlive this run. A disk that takes no writes is a warning: they hold as long as we run."""
        self._keep(bans.BANS, lambda: bans.write_bans(self._trust, standing, self.now()))

    @property
    def floors(self) -> Floors:
        """The floors, for the flows that keep their own in them."""
        return self._floors

    def host_keys(self) -> Sequence[tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
        return ((self._held.key, self._held.host),)

    def user_keys(self) -> Sequence[tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
        return ((self._held.key, self._held.user),)

    def ca_keys(self) -> Sequence[asyncssh.SSHKey]:
        return self._ca_keys

    def identify(self, key: asyncssh.SSHKey) -> NodeId:
        """The node id of a public key. Raises Untrusted if no node can have such a key."""
        return node_id(key)

    def now(self) -> float:
        return self._clock.now()

    def is_revoked(self, node: NodeId) -> bool:
        return node in self._revocation.nodes

    def admit_certificate(self, key_data: bytes, kind: str) -> float:
        """Check a peer's certificate by every rule of the fleet; see `Gate`."""
        _, facts = check_certificate(key_data, Kind(kind), self._ca_keys, self.now(), self.is_revoked)
        return float(facts.ends)

    def read_record(self, data: bytes, node: NodeId) -> PeerRecord:
        """Verify a peer's signed node record against the id that its certificate proved. Raises Untrusted."""
        record = self.read_any_record(data)
        if record.id != node:
            raise Untrusted(f"node record: is of {record.id}, the certificate is of {node}")
        return record

    def read_any_record(self, data: bytes) -> PeerRecord:
        """Verify a signed node record that somebody passed on. Raises Untrusted."""
        record = open_record(data, self._held.root)
        self._proven(record.issued, keep=False)
        return record.peer

    def accept_revocation(self, data: bytes) -> bool:
        """Verify a signed revocation list and keep it if it is newer; true says it was. Raises Untrusted.

        A newer one holds at once, even if the disk takes no writes; then it is a warning, and peers tell it again.
        """
        if data == self._revocation_data:
            return False
        revocation = open_revocation(data, self._held.root)
        seen = max(self._revocation.sequence, self._floors.get(self._floor)[1])
        behind = self._revocation.sequence < seen == revocation.sequence  # our own file was put back: take it again
        if revocation.sequence <= seen and not behind:
            return False
        self._keep(REVOCATION, lambda: file.write(self._trust / REVOCATION, data))
        self._keep(FLOORS, lambda: self._floors.raise_to(self._floor, (0, revocation.sequence)))
        self._revocation, self._revocation_data = revocation, data
        self._proven(revocation.issued, keep=True)
        return True

    def is_newer_revocation(self, data: bytes) -> bool:
        """Verify a signed revocation list, and say whether it is newer than all we have seen. Raises Untrusted."""
        revocation = open_revocation(data, self._held.root)
        return revocation.sequence > max(self._revocation.sequence, self._floors.get(self._floor)[1])

    def is_newer_root(self, data: bytes) -> bool:
        """Verify a signed root of this fleet, and say whether it is newer than ours. Raises Untrusted."""
        root = open_root(data, "root")
        if root.fleet != self.fleet:
            raise Untrusted(f"root: of fleet {root.fleet}, this is fleet {self.fleet}")
        return root.version > self._held.root.version

    def verify_manifest(self, data: bytes, signature: bytes) -> str:
        """Verify a manifest's signature, and that it is a manifest of this fleet; returns the signer's name.

        Raises Untrusted.
        """
        subject = f"manifest {short_digest(image_id(data))}"
        needed = dict(self._held.root.thresholds).get(Namespace.MANIFEST.value, 1)
        if needed > 1:
            raise Untrusted(f"{subject}: the fleet asks for {needed} signatures, this program checks one")
        try:
            signer = verify(data, signature, Namespace.MANIFEST, self._held.allowed, self.now())
            manifest = Manifest.decode(data)
        except Untrusted as error:
            raise Untrusted(f"{subject}: {error}", error.hint) from error
        except ValueError as error:
            raise Untrusted(f"{subject}: {error}") from error
        if manifest.fleet != self.fleet:
            raise Untrusted(f"{subject}: of fleet {manifest.fleet[:40]}, this is fleet {self.fleet}")
        self._proven(manifest.created, keep=False)
        return signer.name

    def _proven(self, when: int, *, keep: bool) -> None:
        self._keep(FLOORS, lambda: self._clock.proven(when, keep=keep))

    def _keep(self, what: str, write: Callable[[], object]) -> None:
        """A disk that takes no writes must not make us refuse honest peers or forget what we just learned."""
        try:
            write()
        except DfedgeError as error:
            self._warn(_WRITE + what, str(error))
        else:
            self._warnings.pop(_WRITE + what, None)

    def _warn(self, what: str, text: str) -> None:
        self._warnings[what] = text
