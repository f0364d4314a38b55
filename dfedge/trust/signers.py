"""Who may sign what: OpenSSH's `allowed_signers` file, read strictly.

Stricter than ssh-keygen where leniency would let somebody in: every line names its namespaces, one by one, and one line
that cannot be read spoils the file. Lines for certificate authorities are refused: list each signer's own key.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dfedge.core.errors import Corrupt, Untrusted
from dfedge.trust.key import fingerprint, parse_public, public_line, same
from dfedge.trust.lean import asyncssh_lean

asyncssh_lean()

import asyncssh  # noqa: E402

MAX_TEXT: Final = 256 * 1024  # bytes
MAX_SIGNERS: Final = 1024
MAX_NAME: Final = 128  # characters of a signer's name

_KEY_TYPE: Final = re.compile(r"(?:ssh|sk-ssh|ecdsa|sk-ecdsa)-[a-z0-9@.-]+")
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,|$)')
_PLAIN: Final = re.compile(r"[^\s*?!,\"#=][^\s*?!,\"]*")
_TIME: Final = re.compile(r"([0-9]{8}|[0-9]{12}|[0-9]{14})(Z?)")


@dataclass(frozen=True, slots=True)
class Signer:
    """One line: whose key may sign in which namespaces, and when (seconds since 1970; None is without limit)."""

    name: str
    key: asyncssh.SSHKey
    namespaces: tuple[str, ...]
    starts: int | None = None
    ends: int | None = None

    def line(self) -> str:
        """Spell the signer as a line of `allowed_signers`."""
        options = [f'namespaces="{",".join(self.namespaces)}"']
        for option, limit in (("valid-after", self.starts), ("valid-before", self.ends)):
            if limit is not None:
                options.append(f'{option}="{datetime.fromtimestamp(limit, UTC):%Y%m%d%H%M%SZ}"')
        return f"{self.name} {','.join(options)} {public_line(self.key)}"


@dataclass(frozen=True, slots=True)
class AllowedSigners:
    """The signers of one file, and what to call it in messages."""

    signers: tuple[Signer, ...]
    subject: str

    @classmethod
    def parse(cls, text: str, subject: str) -> "AllowedSigners":
        """Read the file's text. Raises Corrupt with `subject` and the line number for any line it cannot take."""
        if len(text) > MAX_TEXT:
            raise Corrupt(f"{subject}: {len(text):,} characters, the most is {MAX_TEXT:,}")
        signers = []
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if stripped and not stripped.startswith("#"):
                signers.append(_signer(stripped, f"{subject}:{number}"))
        if len(signers) > MAX_SIGNERS:
            raise Corrupt(f"{subject}: {len(signers):,} signers, the most is {MAX_SIGNERS:,}")
        return cls(tuple(signers), subject)

    def text(self) -> str:
        """Spell the file."""
        return "".join(f"{signer.line()}\n" for signer in self.signers)

    def find(self, key: asyncssh.SSHKey, namespace: str, now: float) -> Signer:
        """Return the signer who may sign in `namespace` with `key` at `now`. Raises Untrusted saying why nobody may."""
        ours = [signer for signer in self.signers if same(signer.key, key)]
        if not ours:
            hint = f"add a line for that key to {self.subject}, if you know it"
            raise Untrusted(f"signed by {fingerprint(key)}, who is not in {self.subject}", hint)
        able = [signer for signer in ours if namespace in signer.namespaces]
        if not able:
            raise Untrusted(f"{ours[0].name} ({fingerprint(key)}) may not sign {namespace}, says {self.subject}")
        for signer in able:
            if (signer.starts is None or signer.starts <= now) and (signer.ends is None or now < signer.ends):
                return signer
        raise Untrusted(f"{able[0].name} ({fingerprint(key)}) may not sign at this time, says {self.subject}")


def _signer(line: str, subject: str) -> Signer:
    principals, rest = _field(line, subject)
    name = principals.strip('"').split(",")[0]
    if len(name) > MAX_NAME or not all(_PLAIN.fullmatch(part) for part in principals.strip('"').split(",")):
        raise Corrupt(f"{subject}: {principals[:60]!r} must be a plain name, without * ? or !")
    options: dict[str, str | None] = {}
    if not _KEY_TYPE.match(rest):
        words, rest = _field(rest, subject)
        options = dict(_options(words, subject))
    namespaces = options.pop("namespaces", None)
    if not namespaces:
        hint = 'write NAME namespaces="dfedge-manifest@v1" KEY'
        raise Corrupt(f"{subject}: no namespaces=, so {name} could sign anything", hint)
    spaces = tuple(namespaces.split(","))
    for space in spaces:
        if not _PLAIN.fullmatch(space):
            raise Corrupt(f"{subject}: namespace {space[:60]!r} must be named in full, without * ? or !")
    starts, ends = (_time(options.pop(option, None), subject) for option in ("valid-after", "valid-before"))
    if "cert-authority" in options:
        raise Corrupt(f"{subject}: cert-authority is not taken here; list each signer's own key")
    if not _KEY_TYPE.match(rest):
        raise Corrupt(f"{subject}: {rest[:20]!r} is not a public key")
    if options:
        raise Corrupt(f"{subject}: unknown option {next(iter(options))[:40]!r}")
    return Signer(name, parse_public(rest, subject), spaces, starts, ends)


def _field(text: str, subject: str) -> tuple[str, str]:
    """Cut off the first field; blanks between double quotes belong to it."""
    quoted = False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char in " \t" and not quoted:
            return text[:at], text[at:].lstrip(" \t")
    raise Corrupt(f"{subject}: ends where a public key belongs")


def _options(words: str, subject: str) -> Iterator[tuple[str, str | None]]:
    at = 0
    seen = set()
    while at < len(words):
        match = _OPTION.match(words, at)
        if match is None:
            raise Corrupt(f"{subject}: cannot read the options from {words[at : at + 40]!r}")
        name = match[1].lower()
        if name in seen:
            raise Corrupt(f"{subject}: option {name} is there twice")
        seen.add(name)
        yield name, match[2]
        at = match.end()


def _time(text: str | None, subject: str) -> int | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise Corrupt(f"{subject}: time {text[:40]!r} must be YYYYMMDD[HHMM[SS]][Z]")
    digits = match[1].ljust(14, "0")
    try:
        if match[2]:
            moment = datetime.strptime(f"{digits}+0000", "%Y%m%d%H%M%S%z")
        else:
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S").astimezone()  # without Z the host's own time, as OpenSSH
        return int(moment.timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise Corrupt(f"{subject}: time {text[:40]!r} does not exist") from error
