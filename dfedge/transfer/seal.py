"""The two ciphers of our sessions on whole packets, with fewer copies than asyncssh's own way to them.

Keys, nonces and counters stay in asyncssh's cipher objects, so that its own code can take over at any packet.
"""

from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LENGTH: Final = 4  # bytes of a packet's length, in front of it
TAG: Final = 16  # bytes of its tag, behind it


class Seal(Protocol):
    """One direction of a session, until the keys change. `seq` is the number of the packet."""

    def length(self, seq: int, head: memoryview) -> int:
        """What the first 4 bytes of a packet say: the bytes between them and the tag."""
        ...

    def open(self, seq: int, packet: memoryview) -> bytes | None:
        """Decrypt a whole packet; None if its tag is wrong. It may be opened again until `opened`."""
        ...

    def opened(self) -> None:
        """The packet is taken; the next one follows."""
        ...

    def close(self, seq: int, body: bytes) -> bytes:
        """Encrypt a packet and put its length before it and its tag behind."""
        ...


class GcmSeal:
    """AES-GCM (RFC 5647). asyncssh expands the key anew for every packet; here it is done once."""

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._aead = AESGCM(cipher._key)

    def length(self, seq: int, head: memoryview) -> int:
        del seq
        return int.from_bytes(head, "big")

    def open(self, seq: int, packet: memoryview) -> bytes | None:
        del seq
        try:
            return self._aead.decrypt(self._cipher._iv, packet[LENGTH:], packet[:LENGTH])
        except InvalidTag:
            return None

    def opened(self) -> None:
        self._cipher._update_iv()

    def close(self, seq: int, body: bytes) -> bytes:
        del seq
        head = len(body).to_bytes(LENGTH, "big")
        sealed = self._aead.encrypt(self._cipher._iv, body, head)
        self._cipher._update_iv()
        return head + sealed


class ChachaSeal:
    """chacha20-poly1305@openssh.com: asyncssh's own functions, which take memory as it lies."""

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher

    def length(self, seq: int, head: memoryview) -> int:
        return int.from_bytes(self._cipher.decrypt_header(bytes(head), seq.to_bytes(8, "big")), "big")

    def open(self, seq: int, packet: memoryview) -> bytes | None:
        opened: bytes | None = self._cipher.verify_and_decrypt(
            bytes(packet[:LENGTH]), packet[LENGTH:-TAG], seq.to_bytes(8, "big"), bytes(packet[-TAG:])
        )
        return opened

    def opened(self) -> None:
        """Nothing to do: the number of the packet is the nonce."""

    def close(self, seq: int, body: bytes) -> bytes:
        head = len(body).to_bytes(LENGTH, "big")
        sealed, tag = self._cipher.encrypt_and_sign(head, body, seq.to_bytes(8, "big"))
        return bytes(sealed + tag)


def seal_of(encryption: object) -> Seal | None:
    """The seal that goes with asyncssh's encryption of one direction; None for one that we do not know."""
    kind, cipher = type(encryption).__name__, getattr(encryption, "_cipher", None)
    if kind == "GCMEncryption" and hasattr(cipher, "_key") and hasattr(cipher, "_iv"):
        return GcmSeal(cipher)
    if kind == "ChachaEncryption" and hasattr(cipher, "verify_and_decrypt"):
        return ChachaSeal(cipher)
    return None
