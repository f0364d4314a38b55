"""SSH's binary fields (RFC 4251, section 5), read from bytes that nobody has vouched for."""

from typing import Final

MAX_BLOB: Final = 16 * 1024  # bytes; a certificate of ours has 600, an SSHSIG by a certificate under 2,000


class Blob:
    """Reads field after field. Every method raises ValueError where the bytes end too soon."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BLOB:
            raise ValueError(f"{len(data):,} bytes, the most is {MAX_BLOB:,}")
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Read exactly `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise ValueError(f"ends after {len(self._data):,} bytes in the middle of a field")
        field = self._data[self._at : end]
        self._at = end
        return field

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        """Read a field that says its own length."""
        return self.take(self.u32())

    def text(self) -> str:
        """Read such a field as UTF-8."""
        return self.string().decode("utf-8")  # UnicodeDecodeError is a ValueError

    def strings(self) -> tuple[str, ...]:
        """Read a field that is itself a row of texts."""
        row = Blob(self.string())
        texts = []
        while not row.at_end:
            texts.append(row.text())
        return tuple(texts)

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def end(self) -> None:
        """Raises ValueError if bytes are left over."""
        if not self.at_end:
            raise ValueError(f"{len(self._data) - self._at:,} bytes too many")
