"""Signatures count for one purpose, by those who are allowed, and for nothing else."""

import base64
from contextlib import suppress

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.errors import Corrupt, Untrusted
from dfedge.trust.key import fingerprint, make_key, public_line
from dfedge.trust.signature import Namespace, read_signature, sign, verify
from dfedge.trust.signers import AllowedSigners

NOW = 1_800_000_000.0
DATA = b"what is signed"
KEY = make_key("ada")
ADA = public_line(KEY)
ALLOWED = AllowedSigners.parse(f'ada namespaces="{Namespace.MANIFEST.value}" {ADA}\n', "allowed_signers")
SIGNATURE = sign(KEY, DATA, Namespace.MANIFEST)


def check(data: bytes, signature: bytes, allowed: AllowedSigners = ALLOWED, now: float = NOW) -> str:
    return verify(data, signature, Namespace.MANIFEST, allowed, now).name


def test_an_allowed_signer_is_named() -> None:
    assert check(DATA, SIGNATURE) == "ada"


def test_changed_bytes_are_refused() -> None:
    with pytest.raises(Untrusted, match="signature of ada does not match"):
        check(DATA + b"!", SIGNATURE)


def test_a_signature_made_for_another_purpose_is_refused_before_all_else() -> None:
    other = asyncssh.create_sshsig(KEY, DATA, namespace="git")
    with pytest.raises(Untrusted, match="signed for 'git', not for 'dfedge-manifest@v1'"):
        check(DATA, other)


def test_a_stranger_is_named_by_fingerprint() -> None:
    stranger = make_key("eve")
    with pytest.raises(Untrusted) as caught:
        check(DATA, sign(stranger, DATA, Namespace.MANIFEST))
    assert fingerprint(stranger) in str(caught.value)


def test_a_signer_of_releases_may_not_sign_manifests() -> None:
    allowed = AllowedSigners.parse(f'ada namespaces="{Namespace.RELEASE.value}" {ADA}', "allowed_signers")
    with pytest.raises(Untrusted, match=r"ada .* may not sign dfedge-manifest@v1"):
        check(DATA, SIGNATURE, allowed)


def test_a_certificate_of_a_signer_does_not_stand_for_its_key() -> None:
    certificate = make_key("ca").generate_user_certificate(KEY, "ada")
    signature = asyncssh.create_sshsig((KEY, certificate), DATA, namespace=Namespace.MANIFEST.value)
    with pytest.raises(Untrusted, match="not signed with a plain key"):
        check(DATA, signature)


@given(st.integers(0, len(SIGNATURE) - 1), st.integers(1, 255))
def test_no_flipped_byte_of_a_signature_passes_or_crashes(at: int, flip: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[at] ^= flip
    try:
        check(DATA, bytes(changed))
    except Untrusted:
        return
    assert read_signature(bytes(changed))[2] == read_signature(SIGNATURE)[2]  # only white space differs


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader_of_signatures(raw: bytes) -> None:
    armored = b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(b"SSHSIG\0\0\0\1" + raw)
    for data in (raw, armored + b"\n-----END SSH SIGNATURE-----\n"):
        with pytest.raises(Untrusted):
            check(DATA, data)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"ada {ADA}", "no namespaces="),
        (f'ada namespaces="" {ADA}', "no namespaces="),
        (f'ada namespaces="dfedge-*" {ADA}', "named in full"),
        (f'ada namespaces="!git" {ADA}', "named in full"),
        (f'* namespaces="a" {ADA}', "plain name"),
        (f'ada,*@example.org namespaces="a" {ADA}', "plain name"),
        (f'ada cert-authority,namespaces="a" {ADA}', "cert-authority is not taken"),
        (f'ada namespaces="a",no-touch {ADA}', "unknown option 'no-touch'"),
        (f'ada namespaces="a",namespaces="b" {ADA}', "there twice"),
        (f'ada namespaces="a",valid-before="tomorrow" {ADA}', "must be YYYYMMDD"),
        (f'ada namespaces="a",valid-before="20271340Z" {ADA}', "does not exist"),
        (f'ada namespaces="a {ADA}', "ends where a public key belongs"),
        ('ada namespaces="a" ssh-ed25519 AAAA', "not a public key"),
        ('ada namespaces="a" ssh-dss AAAA', "not a public key"),
        ("ada", "ends where a public key belongs"),
    ],
)
def test_one_broken_line_spoils_allowed_signers_and_is_named(line: str, what: str) -> None:
    with pytest.raises(Corrupt, match=f"FILE:3: .*{what}"):
        AllowedSigners.parse(f'# ours\nbob namespaces="git" {ADA}\n{line}\n', "FILE")


@given(st.text(max_size=200))
def test_no_text_crashes_the_reader_of_allowed_signers(text: str) -> None:
    with suppress(Corrupt):
        AllowedSigners.parse(text, "FILE")


def test_a_signer_counts_only_between_its_two_times() -> None:
    times = 'valid-after="20270101Z",valid-before="20280101Z"'
    text = f'ada namespaces="{Namespace.MANIFEST.value}",{times} {ADA} a comment\n'
    allowed = AllowedSigners.parse(text, "allowed_signers")
    assert check(DATA, SIGNATURE, allowed) == "ada"
    for now in (1_790_000_000.0, 1_840_000_000.0):
        with pytest.raises(Untrusted, match="may not sign at this time"):
            check(DATA, SIGNATURE, allowed, now)


def test_allowed_signers_is_written_as_it_is_read() -> None:
    text = f'ada namespaces="a,b",valid-after="20270101000000Z" {ADA}\n'
    assert AllowedSigners.parse(text, "FILE").text() == text
