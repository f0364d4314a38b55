"""What a host is, asked over plain SSH with nothing but `sh`: may we, and would dfedge run there?"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from dfedge.core.errors import Refused
from dfedge.jobs.destination import Destination

_CODE: Final = re.compile(r" \[[a-z_]+\]$")  # of an error of dfedge's, as in "… [refused]"
OLDEST_PYTHON: Final = (3, 11)
PROBE: Final = """
echo uid $(id -u); echo user $(id -un); echo home "$HOME"; echo nodename $(uname -n); echo machine $(uname -m)
command -v python3 >/dev/null || exit 0
echo python $(python3 -c 'import sys, struct, platform
print("%d.%d.%d" % sys.version_info[:3], struct.calcsize("P") * 8, platform.libc_ver()[0] or "other")' 2>&1)
"""


class Ran(Protocol):
    """How a command ended there."""

    @property
    def code(self) -> int: ...
    @property
    def out(self) -> bytes: ...
    @property
    def err(self) -> bytes: ...


class Shell(Protocol):
    """Runs commands on the host as the user who logged in."""

    async def run(self, command: str, data: bytes = b"", timeout: float = 30.0) -> Ran:
        """Run one in `sh`, with `data` as its input."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host says of itself."""

    uid: int
    user: str
    home: str
    nodename: str
    machine: str  # as in file names of wheels: a 32-bit Python makes a machine of 32 bits
    python: tuple[int, ...]


async def check_become(shell: Shell, to: Destination, become: str) -> None:
    """Raises Refused unless `become` makes root of the user without asking."""
    ran = await shell.run(f"{become} -n true")
    if ran.code == 0:
        return
    if ran.code == 127:
        why = "is not there"
    elif b"password" in ran.err or b"terminal" in ran.err:
        why = "asks for a password, and there is nobody to ask"
    else:
        why = f"refuses: {first_line(ran.err)}"
    raise Refused(
        f"{to}: {become} {why}; let this user run it without one (NOPASSWD in /etc/sudoers.d), or log in as root",
        f"{to.ssh} -t {become} true",
    )


async def probe(run: Callable[[str], Awaitable[Ran]], to: Destination, machines: frozenset[str]) -> Facts:
    """Look at the host. Raises Refused where a dfedge for these machines (none named: for any) cannot run there."""
    ran = await run(PROBE)
    said = dict(line.split(" ", 1) for line in ran.out.decode(errors="replace").splitlines() if " " in line)
    version, *more = said.get("python", "").split(" ")
    if not version:
        raise Refused(f"{to}: has no python3, dfedge needs 3.11 or newer", f"{to.ssh} apt-get install python3")
    try:
        python = tuple(int(part) for part in version.split("."))
        uid = int(said["uid"])
    except (ValueError, KeyError) as error:
        text = printable(said.get("python", "")[:120])
        raise Refused(f"{to}: python3 there does not work: {text}", f"{to.ssh} python3 -V") from error
    bits, libc = more if len(more) == 2 else ("64", "other")
    if python < OLDEST_PYTHON:
        what = "install a newer one there (Debian 12 has 3.11)"
        raise Refused(f"{to}: python3 there is {version}, dfedge needs 3.11 or newer; {what}", f"{to.ssh} python3 -V")
    machine = _machine(said.get("machine", "?"), bits)
    if machines and machine not in machines:
        these = ", ".join(sorted(machines))
        raise Refused(f"{to}: is a {machine}, the file is for {these}", f"scripts/build-zipapp --targets {machine}")
    if machines and libc != "glibc":
        raise Refused(f"{to}: its C library is not glibc, which the file needs")
    user, home, nodename = (printable(said.get(key, "")) for key in ("user", "home", "nodename"))
    return Facts(uid, user, home, nodename, machine, python)


def _machine(machine: str, bits: str) -> str:
    if bits == "32":
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return machine


def first_line(err: bytes) -> str:
    """What a person wants to see of a program's complaint: dfedge's own line, or else the last one."""
    lines = [line.strip() for line in err.decode(errors="replace").splitlines() if line.strip()]
    ours = [_CODE.sub("", line.removeprefix("dfedge: ")) for line in lines if line.startswith("dfedge: ")]
    text = ours[0] if ours else lines[-1] if lines else "it says nothing"
    return printable(text[:300])


def printable(text: str) -> str:
    """What a terminal may be shown of what a host said."""
    return "".join(character if character.isprintable() else "?" for character in text)
