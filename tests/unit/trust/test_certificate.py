"""Which certificates may pass: each rule alone keeps a stranger out."""

from collections.abc import Callable
from typing import Any

import asyncssh
import pytest

from dfedge.core.errors import Untrusted
from dfedge.trust.certificate import Kind, check_certificate, facts, issue
from dfedge.trust.clock import BUILT
from dfedge.trust.key import make_key, node_id
from dfedge.trust.nodetrust import NodeTrust

NOW = 1_800_000_000
DAY = 86_400

CA = make_key("ca")
KEY = make_key("node")
ID = node_id(KEY)


def user(**changes: Any) -> bytes:
    """A user certificate that would pass, but for `changes`."""
    says: dict[str, Any] = {
        "serial": 1, "principals": [ID], "valid_after": NOW - DAY, "valid_before": NOW + DAY, "permit_pty": False
    }  # fmt: skip
    says |= changes
    ca: asyncssh.SSHKey = says.pop("ca", CA)
    return ca.generate_user_certificate(says.pop("key", KEY), "kiosk-07", **says).public_data


def admit(data: bytes, kind: Kind = Kind.USER, now: float = NOW, revoked: frozenset[str] = frozenset()) -> object:
    return check_certificate(data, kind, [CA], now, revoked.__contains__)


def test_a_node_of_the_fleet_may_pass() -> None:
    assert admit(user()) == (ID, facts(user()))


def _last_bit_flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        pytest.param(user(ca=make_key("other")), "no CA of this fleet", id="foreign CA"),
        pytest.param(user(principals=[]), "has 0 principals", id="no principal"),
        pytest.param(user(principals=[ID, "fleet"]), "has 2 principals", id="two principals"),
        pytest.param(user(principals=[ID, ID]), "has 2 principals", id="one principal twice"),
        pytest.param(user(principals=["root"]), "is for 'root'", id="another principal"),
        pytest.param(user(principals=[node_id(make_key("x"))]), f"its key is {ID}", id="another node's id"),
        pytest.param(user(valid_before=NOW), "ended on 2027-01-15", id="expired"),
        pytest.param(user(valid_after=NOW + 1), "begins on 2027-01-15", id="not yet valid"),
        pytest.param(
            CA.generate_host_certificate(KEY, "n", principals=[ID]).public_data,
            "not a user certificate",
            id="host as user",
        ),
        pytest.param(KEY.public_data, "a bare key", id="bare key"),
        pytest.param(_last_bit_flipped(user()), "not a certificate", id="signature broken"),
        pytest.param(user() + b"\0", "not a certificate", id="a byte too many"),
        pytest.param(b"", "not a certificate", id="nothing"),
        pytest.param(b"\0" * 10_000, "10,000 bytes", id="too long"),
        pytest.param(
            user(key=asyncssh.generate_private_key("ecdsa-sha2-nistp256")),
            "not a certificate",
            id="another kind of key",
        ),
    ],
)
def test_a_certificate_that_breaks_one_rule_is_refused_by_that_rule(data: bytes, rule: str) -> None:
    with pytest.raises(Untrusted, match=rule):
        admit(data)


def test_a_user_certificate_is_no_host_certificate() -> None:
    with pytest.raises(Untrusted, match="not a host certificate"):
        admit(user(), Kind.HOST)


def test_a_revoked_node_is_refused_though_its_certificate_holds() -> None:
    with pytest.raises(Untrusted, match="is revoked"):
        admit(user(), revoked=frozenset({ID}))


def test_an_expired_certificate_says_how_to_get_another() -> None:
    with pytest.raises(Untrusted) as caught:
        admit(user(), now=NOW + 2 * DAY)
    assert caught.value.hint.startswith("dfedge fleet enroll kiosk-07 ")


def test_a_name_made_of_control_characters_does_not_reach_a_terminal() -> None:
    data = CA.generate_user_certificate(KEY, "\x1b[2J", principals=[]).public_data
    with pytest.raises(Untrusted) as caught:
        admit(data)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_the_ca_issues_permits_nothing_but_being_oneself(kind: Kind) -> None:
    certificate = issue(CA, KEY, kind, name="kiosk-07", serial=7, starts=NOW - DAY, ends=NOW + DAY)
    node, said = check_certificate(certificate.public_data, kind, [CA], NOW, lambda _: False)
    assert (node, said.name, said.serial, said.principals) == (ID, "kiosk-07", 7, (ID,))
    assert isinstance(certificate, asyncssh.public_key.SSHOpenSSHCertificate)
    assert dict(certificate.options) == {}


def test_a_board_that_starts_in_1970_still_takes_its_peers(node: Callable[[str], NodeTrust]) -> None:
    here, peer = node("kiosk-01"), node("kiosk-02")
    reopened = NodeTrust.open(here._trust.parent, wall=lambda: 0.0)
    assert reopened.now() > BUILT
    _, certificate = peer.user_keys()[0]
    assert reopened.admit_certificate(certificate.public_data, "user") == peer.own.ends
    assert isinstance(certificate, asyncssh.public_key.SSHOpenSSHCertificate)
    certificate.validate(asyncssh.public_key.CERT_TYPE_USER, peer.own_id)  # asyncssh itself agrees
