"""Wheels and sources as the lock names them. What was downloaded once is kept, and is proven at each use."""

import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from onefile.lock import Pin
from onefile.target import Target

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def wheels(kept: Path, pins: Sequence[Pin], target: Target | None = None, python: str = "") -> list[Path]:
    """The wheels of these packages: for a target and a Python, or, for those that are to be used as pure, any."""
    platform = [f"--platform={tag}" for tag in (target.tags if target else ())]
    if target:
        abis = [f"--abi=cp{python}", "--abi=abi3"]
        platform += [f"--python-version={python}", "--implementation=cp", *abis]
    return _download(kept, pins, ["--only-binary=:all:", *platform])


def sources(kept: Path, pins: Sequence[Pin]) -> list[Path]:
    """The source archives of these packages."""
    return _download(kept, pins, ["--no-binary=:all:"])


def _download(kept: Path, pins: Sequence[Pin], options: Sequence[str]) -> list[Path]:
    key = sha256(repr((sorted(pin.line for pin in pins), options)).encode()).hexdigest()[:16]
    folder = kept / key
    if not (folder / "ok").exists():
        folder.mkdir(parents=True, exist_ok=True)
        requirements = folder / "requirements.txt"
        requirements.write_text("\n".join(pin.line for pin in pins) + "\n", encoding="utf-8")
        subprocess.run(
            [*PIP, "download", "--require-hashes", "--no-deps", "-d", folder, "-r", requirements, *options], check=True
        )
        (folder / "ok").touch()
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    allowed = {digest for pin in pins for digest in pin.digests}
    for file in files:
        if sha256(file.read_bytes()).hexdigest() not in allowed:
            raise SystemExit(f"build-zipapp: {file}: not what the lock says; remove {folder}")
    if len(files) != len(pins):
        raise SystemExit(f"build-zipapp: {folder}: {len(files)} files for {len(pins)} packages; remove it")
    return files
