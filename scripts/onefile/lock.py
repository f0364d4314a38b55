"""The lock: each package's one version, and the SHA-256 of each of its files that may be used."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).with_name("lock.txt")
PURE: Final = ("anyio", "asyncssh", "idna", "ifaddr", "msgpack", "rich", "typing_extensions", "zeroconf")
ABI3: Final = ("cryptography", "psutil")
EACH_PYTHON: Final = ("cffi",)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package."""

    name: str
    version: str
    digests: tuple[str, ...]

    @property
    def line(self) -> str:
        """As pip's requirement files have it."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{digest}" for digest in self.digests)


def read() -> dict[str, Pin]:
    """The pins by name. Raises ValueError at a line that is not one."""
    pins = {}
    for line in LOCK.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w-]+)==([\w.]+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        if match is None:
            raise ValueError(f"{LOCK.name}: not a pin: {line}")
        pins[match[1]] = Pin(match[1], match[2], tuple(re.findall(r"[0-9a-f]{64}", match[3])))
    return pins
