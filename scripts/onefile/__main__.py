"""Builds dist/dfedge.pyz: `scripts/build-zipapp [--targets x86_64,aarch64,armv7l] [--musl] [-o FILE]`."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from manual.bash import bash
from manual.command import commands
from manual.fish import fish
from manual.page import page
from manual.zsh import zsh

from dfedge import __version__
from dfedge.install.manual import FILES
from onefile import cross, download, lock, pack
from onefile.boot.build import Build
from onefile.target import MUSL_TARGETS, TARGETS, Target

ROOT: Final = Path(__file__).parents[2]
MAX_BYTES: Final = 12_000_000  # for the three machines


def main() -> int:
    """Build it, and say what came of it."""
    parser = argparse.ArgumentParser(prog="build-zipapp", description=__doc__)
    parser.add_argument("--targets", help="machines (default: all of them)")
    parser.add_argument("--musl", action="store_true", help="for musl, as Alpine has it, instead of glibc")
    parser.add_argument("-o", "--output", type=Path, help="(default: dist/dfedge.pyz, or dist/dfedge-musl.pyz)")
    parser.add_argument("--kept", type=Path, default=ROOT / "build/onefile", help="where downloads are kept")
    args = parser.parse_args()
    known = MUSL_TARGETS if args.musl else TARGETS
    output: Path = args.output or ROOT / f"dist/dfedge{'-musl' if args.musl else ''}.pyz"
    names = args.targets.split(",") if args.targets else list(known)
    for name in names:
        if name not in known:
            parser.error(f"{name}: not one of {', '.join(known)}")
    targets = [known[name] for name in known if name in names]
    _require(targets)
    pins = lock.read()
    lib = pack.package(ROOT)
    licence = (ROOT / "LICENSE").read_bytes()
    lib["licenses/dfedge/LICENSE"] = licence
    lib |= pack.pure(download.wheels(args.kept, [pins[name] for name in lock.PURE]))
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or time.clock_gettime(time.CLOCK_REALTIME))
    lib |= _manual(epoch)
    archives: dict[str, bytes] = {}
    for target in targets:
        lib |= _modules(args.kept, target, pins, archives)
    build = Build(__version__, tuple(target.native for target in targets))
    build_id = pack.write(output, build, lib, archives, epoch)
    length = output.stat().st_size
    print(f"{output}: {length:,} bytes, build {build_id[:16]}, {', '.join(names)}")
    if length > MAX_BYTES:
        print(f"build-zipapp: {length:,} bytes, the most is {MAX_BYTES:,}", file=sys.stderr)
        return 1
    return 0


def _manual(epoch: int) -> dict[str, bytes]:
    """The man page and the completions, which `service install` puts where the host looks for them."""
    found = commands()
    texts = (page(found, time.strftime("%Y-%m-%d", time.gmtime(epoch))), bash(found), zsh(found), fish(found))
    return {f"share/{name}": text.encode() for name, text in zip(FILES, texts, strict=True)}


def _modules(kept: Path, target: Target, pins: dict[str, lock.Pin], archives: dict[str, bytes]) -> dict[str, bytes]:
    """Add a machine's compiled modules to the archives; the Python modules that go with them come back."""
    with_wheel = [name for name in lock.ABI3 if not target.cross or name != "psutil"]
    wheels = download.wheels(kept, [pins[name] for name in with_wheel], target, target.pythons[0])
    modules = pack.compiled(wheels)
    if target.cross:
        modules |= cross.build(kept, download.sources(kept, [pins["psutil"], pins["cffi"]]), target)
    else:
        for python in target.pythons:
            found = download.wheels(kept, [pins[name] for name in lock.EACH_PYTHON], target, python)
            modules |= pack.compiled(found)
    archives[target.native.member] = pack.natives(modules, target)
    return _psutil(kept, pins) | pack.pure(wheels)


def _psutil(kept: Path, pins: dict[str, lock.Pin]) -> dict[str, bytes]:
    """psutil's Python modules are the same for all machines."""
    return pack.pure(download.wheels(kept, [pins["psutil"]], TARGETS["x86_64"], "311"))


def _require(targets: list[Target]) -> None:
    """Raises SystemExit that names the packages that are missing."""
    wanted = {target.strip: f"binutils-{target.triplet.replace('_', '-')}" for target in targets}
    wanted |= {f"{target.triplet}-gcc": f"gcc-{target.triplet}" for target in targets if target.cross}
    missing = [package for command, package in wanted.items() if shutil.which(command) is None]
    if any(target.cross for target in targets) and not cross.HEADERS.exists():  # the compiler only recommends them
        missing.append(f"libc6-dev-{cross.ARCHITECTURE}-cross")
    if missing:
        names = " ".join(sorted(missing))
        raise SystemExit(f"build-zipapp: missing; try: apt-get install --no-install-recommends {names}")


if __name__ == "__main__":
    sys.exit(main())
