"""From `python3 dfedge.pyz WORDS` to dfedge's own main. Scripts ask for the version often, so that loads least."""

import os
import sys
from zipimport import zipimporter

TYPE_CHECKING = False  # typing is slow to load
if TYPE_CHECKING:
    from onefile.boot.build import Build

_HELP = ("-h", "--help", "help")


def main() -> int:
    """Make dfedge importable and run it; what only shows its version or help unpacks nothing."""
    archive, words = _archive(), sys.argv[1:]
    file = os.path.realpath(archive.archive)  # of a link that an update moves, the file that is running
    if words == ["--version"]:
        version = archive.get_data("build").decode().partition("\n")[0]
        sys.stdout.write(f"dfedge {version.removeprefix('version ')}\n")
        return 0
    from onefile.boot.build import Unfit

    try:
        if not words or any(word in _HELP for word in words):
            sys.path.insert(0, f"{file}/lib")
        else:
            _prepare(file, _build(archive))
        from dfedge.__main__ import main as run
    except Unfit as error:
        sys.stderr.write(f"dfedge: {error} [refused]\n")
        if error.hint:
            sys.stderr.write(f"  try: {error.hint}\n")
        return 1
    sys.argv[0] = "dfedge"
    return run()


def _archive() -> zipimporter:
    loader = sys.modules["__main__"].__loader__
    if not isinstance(loader, zipimporter):
        raise SystemExit("dfedge: this is the inside of dfedge.pyz; run that [refused]")
    return loader


def _build(archive: zipimporter) -> "Build":
    from onefile.boot.build import MEMBER, Build, damaged

    try:
        return Build.parse(archive.get_data(MEMBER).decode())
    except (OSError, ValueError) as error:
        raise damaged() from error


def _prepare(file: str, build: "Build") -> None:
    """Put what dfedge needs on sys.path: unpacked, or in memory. Raises Unfit."""
    from pathlib import Path

    from onefile.boot import machine, place
    from onefile.boot.build import MUSL

    native = machine.choose(build, machine.Machine.here())

    def read() -> dict[str, bytes]:
        from onefile.boot import archive  # tar, zip and xz: a start finds all unpacked, but for the first

        return archive.contents(Path(file), build, native)

    places = place.bases(os.environ, os.geteuid())
    folder = place.unpacked(places, f"{build.id}-{native.machine}", read)
    if folder is not None:
        sys.path.insert(0, str(folder))
        return
    from onefile.boot import memory

    if native.family == MUSL:
        raise memory.no_place(places, "musl finds no library that is only in memory")
    memory.use(read(), places)
    sys.path.insert(0, f"{file}/lib")
