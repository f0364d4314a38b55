"""From `python3 dfedge.pyz WORDS` to dfedge's own main."""

import os
import sys
from zipimport import ZipImportError, zipimporter

from onefile.boot.build import MEMBER, Build, Unfit, damaged

_HELP = ("-h", "--help", "help")


def main() -> int:
    """Make dfedge importable and run it; what only shows its version or help unpacks nothing."""
    file, words = _archive(), sys.argv[1:]
    try:
        build = _build(file)
        if words == ["--version"]:
            sys.stdout.write(f"dfedge {build.version}\n")
            return 0
        if not words or any(word in _HELP for word in words):
            sys.path.insert(0, f"{file}/lib")
        else:
            _prepare(file, build)
        from dfedge.__main__ import main as run
    except Unfit as error:
        sys.stderr.write(f"dfedge: {error} [refused]\n")
        if error.hint:
            sys.stderr.write(f"  try: {error.hint}\n")
        return 1
    sys.argv[0] = "dfedge"
    return run()


def _archive() -> str:
    loader = sys.modules["__main__"].__loader__
    if not isinstance(loader, zipimporter):
        raise SystemExit("dfedge: this is the inside of dfedge.pyz; run that [refused]")
    return os.path.abspath(loader.archive)  # noqa: PTH100 - `--version` has no use for pathlib


def _build(file: str) -> Build:
    try:
        return Build.parse(zipimporter(file).get_data(MEMBER).decode())
    except (OSError, ValueError, ZipImportError) as error:
        raise damaged() from error


def _prepare(file: str, build: Build) -> None:
    """Put what dfedge needs on sys.path: unpacked, or in memory. Raises Unfit."""
    from pathlib import Path

    from onefile.boot import archive, machine, place

    native = machine.choose(build, machine.Machine.here())

    def read() -> dict[str, bytes]:
        return archive.contents(Path(file), build, native)

    places = place.bases(os.environ, os.geteuid())
    folder = place.unpacked(places, f"{build.id}-{native.machine}", read)
    if folder is not None:
        sys.path.insert(0, str(folder))
        return
    from onefile.boot import memory

    memory.use(read(), places)
    sys.path.insert(0, f"{file}/lib")
