"""An operator signs with a key file, with ssh-agent, or with a key that has a passphrase or lies in hardware."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfedge.core.errors import NotFound, Refused, TimedOut, Untrusted
from dfedge.jobs.sign import sign
from dfedge.trust.signature import Namespace, verify
from dfedge.trust.signers import AllowedSigners

MADE = 1_800_000_000
DATA = b"what is signed"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that ssh-keygen made."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ada"], check=True)
    return tmp_path / "ada"


@pytest.fixture
def agent(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ssh-agent that holds a key of which only the public file is left."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            wait_and_add = f"until [ -S {socket} ]; do sleep 0.02; done; ssh-add -q {key}"
            subprocess.run(["sh", "-c", wait_and_add], check=True, timeout=20)
            key.unlink()
            yield key.with_suffix(".pub")
        finally:
            process.terminate()


def signers(public: Path) -> AllowedSigners:
    text = f'ada namespaces="{Namespace.MANIFEST.value}" {public.read_text()}'
    return AllowedSigners.parse(text, "allowed_signers")


def test_the_fleets_own_key_signs_by_default(folder: Path) -> None:
    signed = sign(DATA, Namespace.MANIFEST, fleet=folder, now=MADE)
    assert signed.signer == "signer"
    assert signed.key.startswith("SHA256:")


def test_a_key_file_signs_without_a_fleet_folder(key: Path) -> None:
    signed = sign(DATA, Namespace.MANIFEST, key=key)
    assert verify(DATA, signed.signature, Namespace.MANIFEST, signers(key.with_suffix(".pub")), MADE).name == "ada"


def test_a_key_in_ssh_agent_signs_by_its_public_file(agent: Path) -> None:
    signed = sign(DATA, Namespace.MANIFEST, key=agent)
    assert verify(DATA, signed.signature, Namespace.MANIFEST, signers(agent), MADE).name == "ada"


def test_a_key_that_no_node_would_take_is_refused_at_once(folder: Path, key: Path) -> None:
    for path in (key, key.with_suffix(".pub")):
        with pytest.raises(Untrusted, match="no node would take this signature"):
            sign(DATA, Namespace.MANIFEST, fleet=folder, key=path, now=MADE)


def test_a_key_with_a_passphrase_is_left_to_ssh_keygen(
    key: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True, capture_output=True)
    ask = tmp_path / "askpass"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    signed = sign(DATA, Namespace.MANIFEST, key=key)
    assert verify(DATA, signed.signature, Namespace.MANIFEST, signers(key.with_suffix(".pub")), MADE).name == "ada"


def test_a_public_file_whose_key_nobody_holds_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key.unlink()
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(Refused, match="ssh-keygen could not sign"):
        sign(DATA, Namespace.MANIFEST, key=key.with_suffix(".pub"))


def test_a_hardware_key_that_nobody_touches_does_not_block_for_ever(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "ssh-keygen"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    with pytest.raises(TimedOut, match="did not sign within 0 s"):
        sign(DATA, Namespace.MANIFEST, key=key.with_suffix(".pub"), timeout=0.1)


def test_without_ssh_keygen_it_says_what_is_missing(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="ssh-keygen: not installed"):
        sign(DATA, Namespace.MANIFEST, key=key.with_suffix(".pub"))


def test_a_key_file_that_others_may_read_signs_nothing(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(Untrusted, match="mode 0644"):
        sign(DATA, Namespace.MANIFEST, key=key)


def test_no_key_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no signing key"):
        sign(DATA, Namespace.MANIFEST)
    with pytest.raises(NotFound, match="there is no signing key"):
        sign(DATA, Namespace.MANIFEST, fleet=tmp_path)
