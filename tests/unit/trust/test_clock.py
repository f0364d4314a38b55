"""Boards without a clock still judge certificates rightly, and one wrong clock shuts nobody out."""

import time
from pathlib import Path

import asyncssh
import pytest

from dfedge.core.errors import Untrusted
from dfedge.trust.certificate import Kind, issue
from dfedge.trust.clock import BUILT, FLOOR, KEEP_EVERY, MARGIN, TrustClock, rule_asyncssh, wall_time
from dfedge.trust.floor import Floors
from dfedge.trust.key import make_key, node_id

YEAR = 365 * 86_400
END = BUILT + 3 * YEAR


def test_it_is_never_before_this_program_was_built(tmp_path: Path) -> None:
    assert TrustClock(Floors.load(tmp_path), END, wall=lambda: 0.0).now() == BUILT
    assert wall_time() >= BUILT


def test_a_verified_signature_moves_a_board_out_of_1970_for_good(tmp_path: Path) -> None:
    TrustClock(Floors.load(tmp_path), END, wall=lambda: 0.0).proven(BUILT + YEAR, keep=True)
    assert TrustClock(Floors.load(tmp_path), END, wall=lambda: 0.0).now() == BUILT + YEAR


def test_a_signer_ten_years_ahead_does_not_outdate_our_certificate(tmp_path: Path) -> None:
    clock = TrustClock(Floors.load(tmp_path), END, wall=lambda: 0.0)
    clock.proven(BUILT + 10 * YEAR, keep=True)
    assert clock.now() == END - MARGIN


def test_a_floor_of_another_fleet_does_not_outdate_a_shorter_certificate(tmp_path: Path) -> None:
    Floors.load(tmp_path).raise_to(FLOOR, (0, BUILT + 10 * YEAR))
    assert TrustClock(Floors.load(tmp_path), END, wall=lambda: 0.0).now() == END - MARGIN


def test_manifests_do_not_wear_out_the_card(tmp_path: Path) -> None:
    floors = Floors.load(tmp_path)
    clock = TrustClock(floors, END, wall=lambda: 0.0)
    clock.proven(BUILT + KEEP_EVERY, keep=False)
    written = floors.get(FLOOR)
    for second in range(1, 1000):
        clock.proven(BUILT + KEEP_EVERY + second, keep=False)
    assert floors.get(FLOOR) == written == (0, BUILT + KEEP_EVERY)
    assert clock.now() == BUILT + KEEP_EVERY + 999


def test_asyncssh_judges_certificates_by_our_clock() -> None:
    key = make_key("node")
    certificate = issue(make_key("ca"), key, Kind.USER, name="n", serial=1, starts=BUILT, ends=END)
    assert isinstance(certificate, asyncssh.public_key.SSHOpenSSHCertificate)
    moment = [0.0]
    rule_asyncssh(lambda: moment[0], certificate, BUILT, END)
    try:
        for moment[0], why in ((0.0, "not yet valid"), (float(END), "expired")):
            with pytest.raises(ValueError, match=why):
                certificate.validate(asyncssh.public_key.CERT_TYPE_USER, node_id(key))
        moment[0] = float(BUILT)
        certificate.validate(asyncssh.public_key.CERT_TYPE_USER, node_id(key))
    finally:
        rule_asyncssh(time.time, certificate, BUILT, END)  # noqa: TID251  # as it was


def test_an_asyncssh_that_looks_at_the_time_in_another_way_is_noticed() -> None:
    certificate = issue(make_key("ca"), make_key("node"), Kind.USER, name="n", serial=1, starts=BUILT, ends=END)
    with pytest.raises(Untrusted, match="does not judge certificates by our clock"):
        rule_asyncssh(lambda: 0.0, certificate, BUILT - YEAR, END)  # as if it asked another clock than ours
    rule_asyncssh(time.time, certificate, BUILT, END)  # noqa: TID251  # as it was
