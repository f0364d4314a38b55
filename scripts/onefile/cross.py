"""psutil and cffi for armv7l, for which there are no wheels: compiled here, against Debian's headers for armhf.

The C library's headers are those of the host's cross compiler, whichever Debian a Python's are from.
"""

import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from onefile.target import Target

ARCHITECTURE: Final = "armhf"
HEADERS: Final = Path("/usr/arm-linux-gnueabihf/include/stdlib.h")  # the C library's
PACKAGES: Final = (
    "libpython3.11-dev/bookworm",
    "libpython3.13-dev/trixie",
    "libpython3.14-dev/forky",
    "libffi-dev/bookworm",
)
SUITES: Final = tuple(dict.fromkeys(package.partition("/")[2] for package in PACKAGES))
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES: Final = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def build(kept: Path, archives: Sequence[Path], target: Target) -> dict[str, bytes]:
    """The compiled modules, by their path. Raises CalledProcessError."""
    root = _headers(kept)
    found: dict[str, bytes] = {}
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(kept / "source", filter="data")
        source = kept / "source" / archive.name.removesuffix(".tar.gz")
        if archive.name.startswith("psutil"):
            found["psutil/_psutil_linux.abi3.so"] = _psutil(source, root, target)
        else:
            for python in target.pythons:
                found[f"_cffi_backend.cpython-{python}-{target.triplet}.so"] = _cffi(source, root, target, python)
    return found


def _headers(kept: Path) -> Path:
    """Debian's packages, fetched and checked by apt with folders of its own, so that this system stays as it is."""
    root = kept / "headers-of" / "-".join(SUITES)
    if not (root / "ok").exists():
        apt = kept / "apt"
        (apt / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (apt / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        mirror = _mirror()
        (apt / "sources.list").write_text(
            "".join(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in SUITES), encoding="utf-8"
        )
        options = {
            "Dir::State": apt / "state",
            "Dir::Cache": apt / "cache",
            "Dir::State::status": apt / "status",
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            "APT::Sandbox::User": "root",
        }
        command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        subprocess.run([*command, "update"], check=False)  # one index of many may be amiss
        subprocess.run([*command, "download", *PACKAGES], check=True, cwd=apt)
        root.mkdir(parents=True, exist_ok=True)
        for package in sorted(apt.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        (root / "ok").touch()
    return root


def _mirror() -> str:
    """Where this host has its packages from. Raises SystemExit."""
    for file in SOURCES:
        if file.is_file():
            found = re.search(
                r"^(?:URIs:|deb(?: \[.*\])?) *(\S+/debian)/?\s", file.read_text(encoding="utf-8"), re.MULTILINE
            )
            if found:
                return found[1]
    raise SystemExit(f"build-zipapp: no mirror of Debian in {' or '.join(map(str, SOURCES))}; leave armv7l out")


def _psutil(source: Path, root: Path, target: Target) -> bytes:
    version = source.name.removeprefix("psutil-").replace(".", "")
    files = [source / "psutil/_psutil_linux.c"]
    for folder in ("all", "posix", "linux"):
        files += sorted((source / "psutil/arch" / folder).glob("*.c"))
    defines = ["PSUTIL_POSIX=1", "PSUTIL_LINUX=1", f"PSUTIL_VERSION={version}", "Py_LIMITED_API=0x03060000"]
    defines.append("PSUTIL_SIZEOF_PID_T=4")
    return _compile(source, files, defines, root, target, target.pythons[0])


def _cffi(source: Path, root: Path, target: Target, python: str) -> bytes:
    """With libffi inside: boards differ in which they have."""
    library = root / f"usr/lib/{target.triplet}/libffi_pic.a"
    defines = ["FFI_BUILDING=1", "USE__THREAD", "HAVE_SYNC_SYNCHRONIZE"]
    if python != "311":
        defines += ["_FILE_OFFSET_BITS=64", "_TIME_BITS=64"]  # since Debian 13 such Pythons have times of 64 bits
    return _compile(source, [source / "src/c/_cffi_backend.c", library], defines, root, target, python)


def _compile(
    source: Path, files: Sequence[Path], defines: Sequence[str], root: Path, target: Target, python: str
) -> bytes:
    output = source / "module.so"
    include = root / "usr/include"
    headers = [include / f"python{python[0]}.{python[1:]}", include, include / target.triplet]
    subprocess.run(
        [
            f"{target.triplet}-gcc", "-shared", "-fPIC", "-O2", "-w", "-s", "-Wl,--build-id=none",
            f"-ffile-prefix-map={source}=.", *(f"-D{name}" for name in defines), *(f"-I{path}" for path in headers),
            *files, "-o", output,
        ],
        check=True,
    )  # fmt: skip
    return output.read_bytes()
