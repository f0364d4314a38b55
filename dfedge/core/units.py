"""Sizes, rates, durations, addresses and digests as people write and read them."""

import re
from typing import Final

_SIZE_UNITS: Final = {
    "": 1, "b": 1,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_BIT_UNITS: Final = {"bit": 1, "kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}
_TIME_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)")
_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*[a-zA-Z]*\s*)+")


def parse_size(text: str) -> int:
    """Read a size such as `10 GiB`, `500MB` or `4096`, in bytes. Raises ValueError that says how to write one."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f'"{text}" is not a size; write one as in "10 GiB"')
    return int(float(match[1]) * factor)


def parse_rate(text: str) -> int:
    """Read a rate such as `10 MB/s` or `50 Mbit/s`, in bytes/s. Raises ValueError that says how to write one."""
    number, _, per = text.strip().rpartition("/")
    match = _QUANTITY.fullmatch(number.strip())
    if match is not None and per.strip() == "s":
        unit = match[2].lower()
        if unit in _BIT_UNITS:
            return int(float(match[1]) * _BIT_UNITS[unit] / 8)
        if unit in _SIZE_UNITS:
            return int(float(match[1]) * _SIZE_UNITS[unit])
    raise ValueError(f'"{text}" is not a rate; write a size per second, as in "10 MB/s" or "50 Mbit/s"')


def parse_duration(text: str) -> float:
    """Read a duration such as `90`, `10m` or `1h 30m`, in seconds. Raises ValueError that says how to write one."""
    if _DURATION.fullmatch(text.strip()):
        parts = [(float(m[1]), _TIME_UNITS.get(m[2].lower())) for m in _QUANTITY.finditer(text)]
        if all(unit is not None for _, unit in parts):
            return sum(value * unit for value, unit in parts if unit is not None)
    raise ValueError(f'"{text}" is not a duration; write one as in "10m" or "1h 30m"')


def size(nbytes: float) -> str:
    """Write a size for a person: `342.5 MiB`."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def line_rate(bytes_per_s: float) -> str:
    """Write a rate for a person who thinks in line rates: `41 Mbit/s`."""
    mbit = bytes_per_s * 8 / 1e6
    return f"{mbit:.0f} Mbit/s" if mbit >= 10 else f"{mbit:.1f} Mbit/s"


def duration(seconds: float) -> str:
    """Write a duration for a person, to its two largest units: `3 d 4 h`, `2 min 5 s`, `7.4 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def host_port(host: str, port: int) -> str:
    """Write where a node listens: `192.0.2.7:7411`, `[fe80::1%eth0]:7411`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def short_digest(digest: bytes) -> str:
    """Write a digest for a screen: `sha256:9f3c1a77b204`."""
    return f"sha256:{digest.hex()[:12]}"


def full_digest(digest: bytes) -> str:
    """Write a digest for a script: `sha256:` and 64 hex digits."""
    return f"sha256:{digest.hex()}"
