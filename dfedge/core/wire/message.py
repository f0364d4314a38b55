"""The messages of the control channel, as values. A message checks its own ranges, so an invalid one cannot exist."""

from dataclasses import dataclass
from typing import Final

from dfedge.core.image.manifest import MAX_MANIFEST, MAX_PIECES

PROTOCOL: Final = 1
MAX_MESSAGE: Final = 64 * 1024  # bytes; the piece map of 500,000 pieces is 62,500
MAX_ENTRIES: Final = 128  # catalogue entries in one message
MAX_HAVE: Final = 1024  # pieces in one Have
MAX_HANDLE: Final = 0xFFFF
PART: Final = 48 * 1024  # bytes of a manifest in one message
MAX_SIGNATURE: Final = 8 * 1024  # bytes; an Ed25519 SSHSIG is 300, one by a certificate under 2,000
MAX_RECORD: Final = 1900  # bytes of a signed node record, so that 32 fit one message
MAX_CONTACTS: Final = 32
MAX_HOLDERS: Final = 16  # in one answer; a holder is a contact and an entry
MAX_STRAIN_MS: Final = 50  # so much longer a queue a peer can talk us into
MAX_HOPS: Final = 2  # with 24 neighbours each, 2 reach 14,000 nodes
_U32: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Hello:
    """First on each channel, from both sides. Everything in it but `record` and `revocation` is a claim."""

    protocol: int
    boot: bytes  # 16 random bytes a start: two of them under one key are a cloned card
    fleet: str
    port: int  # where the sender listens
    links: int  # how many sessions it has
    agent: str  # program and version, for people
    record: bytes  # the signed node record
    revocation: bytes  # the signed revocation list

    def __post_init__(self) -> None:
        _require(
            len(self.boot) == 16
            and 0 < self.port < 65536
            and 0 < self.protocol < 256
            and 0 <= self.links <= MAX_HANDLE,
            "hello out of range",
        )
        _require(len(self.fleet) <= 64 and len(self.agent) <= 64, "hello names too long")


@dataclass(frozen=True, slots=True)
class Revoked:
    """A newer signed revocation list."""

    revocation: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """An image somebody holds, whole or in part. Name and version are hints until the manifest is verified."""

    image: bytes
    name: str
    version: str
    created: int  # seconds since 1970
    size: int  # bytes
    held: int  # bytes

    def __post_init__(self) -> None:
        _require(len(self.image) == 32 and len(self.name) <= 255 and len(self.version) <= 128, "entry out of range")
        _require(0 <= self.held <= self.size < 2**63 and 0 <= self.created < 2**63, "entry numbers out of range")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the sender holds, or what changed in it since."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        _require(len(self.entries) <= MAX_ENTRIES, "too many catalogue entries")


@dataclass(frozen=True, slots=True)
class Dropped:
    """Images the sender no longer holds."""

    images: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require(len(self.images) <= MAX_ENTRIES and all(len(i) == 32 for i in self.images), "dropped out of range")


@dataclass(frozen=True, slots=True)
class AskManifest:
    """Send me the manifest of this image from `offset` on."""

    image: bytes
    offset: int

    def __post_init__(self) -> None:
        _require(len(self.image) == 32 and 0 <= self.offset < MAX_MANIFEST, "ask for a manifest out of range")


@dataclass(frozen=True, slots=True)
class ManifestPart:
    """A part of a manifest and its whole signature file; `total` 0 says the sender has it not."""

    image: bytes
    offset: int
    total: int
    signature: bytes
    data: bytes

    def __post_init__(self) -> None:
        _require(len(self.image) == 32 and 0 <= self.offset <= self.total <= MAX_MANIFEST, "manifest part out of range")
        _require(len(self.data) <= PART and self.offset + len(self.data) <= self.total, "manifest part too long")
        _require(len(self.signature) <= MAX_SIGNATURE, "manifest signature too long")


@dataclass(frozen=True, slots=True)
class Join:
    """I am in the swarm of this image; `handle` is my short name for it. `pieces` is what I show of my piece map."""

    handle: int
    image: bytes
    complete: bool  # I hold all of it, whatever `pieces` shows
    pieces: bytes

    def __post_init__(self) -> None:
        _check_handle(self.handle)
        _require(len(self.image) == 32 and len(self.pieces) <= (MAX_PIECES + 7) // 8, "join out of range")


@dataclass(frozen=True, slots=True)
class Leave:
    """I left that swarm; the handle is free again."""

    handle: int

    def __post_init__(self) -> None:
        _check_handle(self.handle)


@dataclass(frozen=True, slots=True)
class Have:
    """I hold and show these pieces too. `complete` says that I now hold every one."""

    handle: int
    complete: bool
    pieces: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_handle(self.handle)
        _check_pieces(self.pieces, "have out of range")


@dataclass(frozen=True, slots=True)
class Lost:
    """I found these pieces spoilt on my disk; don't ask me for them."""

    handle: int
    pieces: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_handle(self.handle)
        _check_pieces(self.pieces, "lost out of range")


@dataclass(frozen=True, slots=True)
class Choke:
    """Do not ask me for pieces of that image; what you have asked is forgotten."""

    handle: int

    def __post_init__(self) -> None:
        _check_handle(self.handle)


@dataclass(frozen=True, slots=True)
class Unchoke:
    """You may ask me for pieces of that image."""

    handle: int

    def __post_init__(self) -> None:
        _check_handle(self.handle)


@dataclass(frozen=True, slots=True)
class Bad:
    """The piece you sent does not match its digest; look at your disk."""

    handle: int
    piece: int

    def __post_init__(self) -> None:
        _check_handle(self.handle)
        _require(0 <= self.piece < MAX_PIECES, "bad piece out of range")


@dataclass(frozen=True, slots=True)
class Cancel:
    """I no longer want that piece; skip what of it you have not sent."""

    handle: int
    piece: int

    def __post_init__(self) -> None:
        _check_handle(self.handle)
        _require(0 <= self.piece < MAX_PIECES, "cancelled piece out of range")


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Asked of the older of two sessions under one key, before the newer is judged."""

    nonce: int

    def __post_init__(self) -> None:
        _require(0 <= self.nonce <= _U32, "ping out of range")


@dataclass(frozen=True, slots=True)
class Pong:
    """I am here."""

    nonce: int

    def __post_init__(self) -> None:
        _require(0 <= self.nonce <= _U32, "pong out of range")


@dataclass(frozen=True, slots=True)
class Warn:
    """Something your operator should know; it changes nothing between us."""

    text: str

    def __post_init__(self) -> None:
        _require(len(self.text) <= 1024, "warning too long")


@dataclass(frozen=True, slots=True)
class Contact:
    """A node and where it was reached. The record is signed by the CA; the address is hearsay."""

    record: bytes
    host: str
    port: int

    def __post_init__(self) -> None:
        _require(
            len(self.record) <= MAX_RECORD and len(self.host) <= 45 and 0 < self.port < 65536, "contact out of range"
        )


@dataclass(frozen=True, slots=True)
class Contacts:
    """Nodes that the sender is connected with."""

    contacts: tuple[Contact, ...]

    def __post_init__(self) -> None:
        _require(len(self.contacts) <= MAX_CONTACTS, "too many contacts")


@dataclass(frozen=True, slots=True)
class Seek:
    """Who holds this image? Ask your neighbours too, `hops` times over. A digest, or a name and perhaps a version."""

    question: bytes  # 8 random bytes
    hops: int
    name: str
    version: str
    digest: str  # the first hex digits of the image's id

    def __post_init__(self) -> None:
        _require(len(self.question) == 8 and 0 <= self.hops <= MAX_HOPS, "question out of range")
        _require(len(self.name) <= 255 and len(self.version) <= 128 and len(self.digest) <= 64, "question too long")


@dataclass(frozen=True, slots=True)
class Holder:
    """A node, where it was reached, and what it says it holds. Only the record is signed, the rest is hearsay."""

    record: bytes
    host: str  # empty if it was reached where nobody else can
    port: int
    image: bytes
    name: str
    version: str
    size: int  # bytes
    held: int  # bytes

    def __post_init__(self) -> None:
        Contact(self.record, self.host, self.port)
        Entry(self.image, self.name, self.version, 0, self.size, self.held)


@dataclass(frozen=True, slots=True)
class Found:
    """Nodes that hold what a question asked for; goes back the way the question came."""

    question: bytes
    holders: tuple[Holder, ...]

    def __post_init__(self) -> None:
        _require(len(self.question) == 8 and len(self.holders) <= MAX_HOLDERS, "answer out of range")


@dataclass(frozen=True, slots=True)
class Strained:
    """Other flows fill my link: so many ms of a round trip through me stand in their queues, not in yours."""

    up: int  # in what I send
    down: int  # in what I am sent; 0 both: no longer

    def __post_init__(self) -> None:
        _require(0 <= self.up <= MAX_STRAIN_MS and 0 <= self.down <= MAX_STRAIN_MS, "strain out of range")


@dataclass(frozen=True, slots=True)
class Bye:
    """I end this session, and why."""

    code: str  # one of core.errors.CODES
    reason: str

    def __post_init__(self) -> None:
        _require(len(self.code) <= 32 and len(self.reason) <= 1024, "bye too long")


Message = (
    Hello | Revoked | Catalogue | Dropped | AskManifest | ManifestPart | Join | Leave | Have | Lost
    | Choke | Unchoke | Bad | Cancel | Ping | Pong | Warn | Contacts | Seek | Found | Strained | Bye
)  # fmt: skip


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)


def _check_handle(handle: int) -> None:
    _require(0 <= handle <= MAX_HANDLE, "handle out of range")


def _check_pieces(pieces: tuple[int, ...], what: str) -> None:
    _require(len(pieces) <= MAX_HAVE and (not pieces or (min(pieces) >= 0 and max(pieces) < MAX_PIECES)), what)
