"""Where a node is reached over plain SSH, as its operator writes it: `[NAME=][USER@]HOST[:PORT]`."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from dfedge.trust.identity import check_node_name

MAX_TEXT: Final = 512  # characters: a DNS name has 255 at most
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_USER: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*\$?")


@dataclass(frozen=True, slots=True)
class Destination:
    """One host. What is not given (name, user, port) is left to the host's own name and to `~/.ssh/config`."""

    host: str
    user: str = ""
    port: int | None = None
    name: str = ""  # what the node is to be called

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Read one. Raises ValueError that says how to write it."""
        complaint = (
            f'"{text[:80]}" is no host; write one as in "pi@gw-12:22", "kiosk-07=192.0.2.7" or "[fe80::3%eth0]:22"'
        )
        if len(text) > MAX_TEXT:
            raise ValueError(complaint)
        name, equals, rest = text.rpartition("=")
        if equals:
            check_node_name(name)
        user, at, rest = rest.rpartition("@")
        host, port = _split_port(rest)
        if (at and not _USER.fullmatch(user)) or not _is_host(host) or not (port is None or 0 < port < 65536):
            raise ValueError(complaint)
        return cls(host, user, port, name)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def ssh(self) -> str:
        """The same for `ssh`, to try it by hand."""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}{self.user + '@' if self.user else ''}{self.host}"

    @property
    def keyscan(self) -> str:
        """How to learn the host's key, to be compared with what the host itself says it is."""
        return f"ssh-keyscan {f'-p {self.port} ' if self.port else ''}{self.host}"

    def suggested_name(self, nodename: str) -> str:
        """What to call the node: what the operator said, else the host's first label, else what it calls itself.

        Raises ValueError where neither is a node name.
        """
        if self.name:
            return self.name
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return check_node_name(self.host.partition(".")[0].lower())
        return check_node_name(nodename.partition(".")[0].lower())


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return "", None
        port = port[1:] if port else ""
        return host, _port(port) if port or text.endswith(":") else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    return text, None


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0  # 0 is refused


def _is_host(text: str) -> bool:
    if ":" not in text:
        return bool(_HOST.fullmatch(text))
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return False
    return True
