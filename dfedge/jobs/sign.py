"""Signs a manifest with an operator's key: a file, or one that ssh-agent or a hardware key holds."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import DfedgeError, NotFound, Refused, TimedOut, Untrusted
from dfedge.trust import file
from dfedge.trust.clock import wall_time
from dfedge.trust.credentials import ALLOWED, read_allowed
from dfedge.trust.fleetfolder import SIGNER
from dfedge.trust.key import Key, NeedsPassphrase, fingerprint, load_private, load_public
from dfedge.trust.signature import Namespace, read_signature
from dfedge.trust.signature import sign as sign_here
from dfedge.trust.signers import MAX_TEXT

SIGN_TIMEOUT: Final = 120.0  # seconds: somebody must find the hardware key and touch it, or type a passphrase


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature and who made it."""

    signature: bytes  # armored SSHSIG
    signer: str  # the name in allowed_signers; empty where there is no such file to look in
    key: str  # SHA256:…


def sign(
    data: bytes,
    namespace: Namespace,
    *,
    fleet: Path | None = None,
    key: Path | None = None,
    timeout: float = SIGN_TIMEOUT,
    now: int | None = None,
) -> Signed:
    """Sign `data` with `key`, or with the signing key of the operator's folder `fleet`.

    `key` is a private key file, or a `.pub` file whose key ssh-agent or a hardware key holds. With `fleet` the key must
    be one that its `allowed_signers` lets sign this, for no node would take it else. Raises NotFound, Refused,
    Untrusted, TimedOut or Corrupt.
    """
    path = key or (fleet / SIGNER if fleet else None)
    if path is None:
        raise NotFound("no signing key: neither a fleet folder nor a key was given", "dfedge publish … --sign-with KEY")
    if not path.exists():
        raise NotFound(f"{path}: there is no signing key", "dfedge publish … --sign-with KEY")
    private = None if path.suffix == ".pub" else _load(path)
    if private is not None:
        _check_allowed(private, namespace, fleet, now)
        signature = sign_here(private, data, namespace)
    else:
        if path.suffix == ".pub":
            _check_allowed(load_public(path), namespace, fleet, now)
        signature = _by_ssh_keygen(path, data, namespace, timeout)
    made_by, said, _ = read_signature(signature)
    if said != namespace.value:
        raise Untrusted(f"{path}: ssh-keygen signed for {said!r}, not for {namespace.value!r}")
    return Signed(signature, _check_allowed(made_by, namespace, fleet, now), fingerprint(made_by))


def _load(path: Path) -> Key | None:
    """The key, or None if only ssh-keygen can use it: it has a passphrase or lies in hardware."""
    try:
        key = load_private(path)
    except NeedsPassphrase:
        return None
    return None if key.get_algorithm().startswith("sk-") else key


def _check_allowed(key: Key, namespace: Namespace, fleet: Path | None, now: int | None) -> str:
    if fleet is None:
        return ""
    path = fleet / ALLOWED
    data = file.read_if_there(path, MAX_TEXT)
    if data is None:
        return ""
    try:
        signer = read_allowed(data, str(path)).find(key, namespace.value, float(wall_time() if now is None else now))
    except Untrusted as error:
        raise Untrusted(f"no node would take this signature: {error}", error.hint) from error
    return signer.name


def _by_ssh_keygen(path: Path, data: bytes, namespace: Namespace, timeout: float) -> bytes:
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace.value, "-f", str(path)]
    seen = None if sys.stderr.isatty() else subprocess.PIPE  # on a terminal people must see what it asks for
    try:
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=seen, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise NotFound("ssh-keygen: not installed, it is needed for this key", "apt install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"{path}: ssh-keygen did not sign within {timeout:.0f} s; was the key touched?") from error
    if done.returncode != 0 or not done.stdout:
        raise _failed(path, done.returncode, done.stderr)
    return done.stdout


def _failed(path: Path, code: int, said: bytes | None) -> DfedgeError:
    lines = [
        line for line in (said or b"").decode("utf-8", "replace").splitlines() if not line.startswith("Signing data")
    ]
    reason = lines[-1].strip().lower() if lines else f"it ended with {code}"
    return Refused(f"{path}: ssh-keygen could not sign: {reason}", "ssh-add -l")
