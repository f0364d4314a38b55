"""Signed statements have one spelling, one purpose and one fleet, whatever the bytes."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfedge.core.canonical import Value, pack
from dfedge.core.errors import Untrusted
from dfedge.core.seams import NodeId
from dfedge.trust.identity import fleet_of_raw_key, id_of_raw, raw_of_id
from dfedge.trust.key import make_key, public_line, raw_public
from dfedge.trust.record import MAX_RECORD, NodeRecord, decode_record, open_record
from dfedge.trust.revocation import MAX_REVOCATION, MAX_REVOKED, Revocation, decode_revocation, open_revocation
from dfedge.trust.root import Root, decode_root, open_root
from dfedge.trust.signature import Namespace
from dfedge.trust.statement import seal, split

CA = make_key("ca")
FLEET = fleet_of_raw_key(raw_public(CA))
ROOT = Root(FLEET, "Kiosks", 1, 1_800_000_000, (raw_public(CA),), (("ada", public_line(CA), ("a", "b")),), (("a", 1),))
OTHER_CA = make_key("other")
OTHER = Root(fleet_of_raw_key(raw_public(OTHER_CA)), "", 1, 1_800_000_000, (raw_public(OTHER_CA),), ())

ids = st.binary(min_size=32, max_size=32).map(id_of_raw)
times = st.integers(0, 2**40)
labels = st.dictionaries(
    st.from_regex(r"[a-z0-9]([a-z0-9._/-]{0,10}[a-z0-9])?", fullmatch=True),
    st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=10),
    max_size=8,
).map(lambda pairs: tuple(sorted(pairs.items())))
records = st.builds(
    NodeRecord,
    st.just(FLEET),
    ids,
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    labels,
    st.integers(1, 2**63 - 1),
    times,
    st.integers(2**40 + 1, 2**63 - 1),
)
revocations = st.builds(Revocation, st.just(FLEET), st.integers(0, 2**63 - 1), times, st.frozensets(ids, max_size=20))
values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**63) | st.text(max_size=8) | st.binary(max_size=64),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)
DECODERS: list[tuple[str, Callable[[bytes], object]]] = [
    ("dfedge-root", decode_root),
    ("dfedge-revocation", decode_revocation),
    ("dfedge-node", decode_record),
]


@given(records)
def test_a_record_is_read_as_it_was_written(record: NodeRecord) -> None:
    assert decode_record(record.encode()) == record


@given(revocations)
def test_a_revocation_list_is_read_as_it_was_written(revocation: Revocation) -> None:
    assert decode_revocation(revocation.encode()) == revocation


def test_a_root_is_read_as_it_was_written() -> None:
    assert decode_root(ROOT.encode()) == ROOT
    assert open_root(ROOT.seal(CA), "root") == ROOT


@pytest.mark.parametrize(("type_", "decode"), DECODERS)
@given(data=st.binary(max_size=200), row=st.lists(values, max_size=9).map(tuple))
def test_no_bytes_crash_a_decoder_or_can_be_read_two_ways(
    type_: str, decode: Callable[[bytes], Root | Revocation | NodeRecord], data: bytes, row: tuple[Value, ...]
) -> None:
    bodies = [data]
    with suppress(ValueError):  # a number beyond 64 bits has no spelling
        bodies += [pack((type_, 1, FLEET, *row)), pack((type_, *row)), pack(row)]
    for body in bodies:
        try:
            statement = decode(body)
        except ValueError:
            continue
        assert statement.encode() == body


@given(st.binary(max_size=300))
def test_no_bytes_open_as_a_statement(data: bytes) -> None:
    for bytes_ in (data, pack((data, data))):
        with pytest.raises(Untrusted):
            open_root(bytes_, "root")
        with pytest.raises(Untrusted):
            open_revocation(bytes_, ROOT)
        with pytest.raises(Untrusted):
            open_record(bytes_, ROOT)


@given(st.data())
def test_no_flipped_bit_of_a_signed_list_passes(data: st.DataObject) -> None:
    sealed = Revocation(FLEET, 1, 5, frozenset({id_of_raw(b"\1" * 32)})).seal(CA)
    body, _ = split(sealed, MAX_REVOCATION)
    at = data.draw(st.integers(0, len(body) + 2))  # the body and the array around it
    changed = bytearray(sealed)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Untrusted):
        open_revocation(bytes(changed), ROOT)


def test_a_number_spelt_as_true_is_refused() -> None:
    with pytest.raises(ValueError, match="not a dfedge-revocation"):
        decode_revocation(pack(("dfedge-revocation", True, FLEET, 0, 0, b"")))
    with pytest.raises(ValueError, match="sequence"):
        decode_revocation(pack(("dfedge-revocation", 1, FLEET, True, 0, b"")))


@pytest.mark.parametrize("ids_", [b"\2" * 32 + b"\1" * 32, b"\1" * 64, b"\1" * 31])
def test_a_list_that_is_not_sorted_or_repeats_or_is_cut_is_refused(ids_: bytes) -> None:
    with pytest.raises(ValueError, match=r"sorted|bytes"):
        decode_revocation(pack(("dfedge-revocation", 1, FLEET, 0, 0, ids_)))


def test_a_root_signed_by_another_key_than_its_fleets_is_refused() -> None:
    with pytest.raises(Untrusted, match="who is not in the fleet's root"):
        open_root(seal(ROOT.encode(), OTHER_CA, Namespace.ROOT), "root")


def test_a_root_cannot_name_a_fleet_that_is_not_its_own() -> None:
    forged = pack(("dfedge-root", 1, FLEET, "", 1, 0, (raw_public(OTHER_CA),), (), ()))
    with pytest.raises(Untrusted, match="not the one of its first CA key"):
        open_root(seal(forged, OTHER_CA, Namespace.ROOT), "root")


def test_statements_of_another_fleet_are_refused() -> None:
    with pytest.raises(Untrusted, match="this is fleet"):
        open_revocation(Revocation(OTHER.fleet, 1, 5, frozenset()).seal(CA), ROOT)
    with pytest.raises(Untrusted, match="who is not in"):
        open_revocation(Revocation(FLEET, 1, 5, frozenset()).seal(OTHER_CA), ROOT)
    with pytest.raises(Untrusted, match="this is fleet"):
        open_record(a_record(OTHER.fleet).seal(CA), ROOT)
    with pytest.raises(Untrusted, match="who is not in"):
        open_record(a_record(FLEET).seal(OTHER_CA), ROOT)


def test_a_statement_signed_for_another_purpose_is_refused() -> None:
    body = Revocation(FLEET, 1, 5, frozenset()).encode()
    with pytest.raises(Untrusted, match="signed for 'dfedge-node@v1', not for 'dfedge-revocation@v1'"):
        open_revocation(seal(body, CA, Namespace.NODE), ROOT)
    with pytest.raises(Untrusted, match="a 'dfedge-revocation' of format 1, here belongs 'dfedge-node'"):
        open_record(seal(body, CA, Namespace.NODE), ROOT)


def test_the_longest_list_and_a_record_still_fit_one_hello_of_64_kib() -> None:
    nodes = frozenset(id_of_raw(number.to_bytes(32, "big")) for number in range(MAX_REVOKED))
    sealed = Revocation(FLEET, 2**63 - 1, 2**40, nodes).seal(CA)
    assert len(sealed) <= MAX_REVOCATION
    assert len(sealed) + MAX_RECORD + 1024 <= 64 * 1024
    assert open_revocation(sealed, ROOT).nodes == nodes


def test_a_record_too_long_to_travel_is_not_signed() -> None:
    many = tuple((f"label-{number:02}", "x" * 120) for number in range(16))
    with pytest.raises(ValueError, match="use shorter labels"):
        a_record(FLEET, many).seal(CA)


@given(st.text(max_size=60))
def test_an_id_has_one_spelling(text: str) -> None:
    try:
        raw = raw_of_id(text)
    except ValueError:
        return
    assert id_of_raw(raw) == text


def a_record(fleet: str, labels: tuple[tuple[str, str], ...] = ()) -> NodeRecord:
    return NodeRecord(fleet, NodeId(id_of_raw(b"\7" * 32)), "kiosk-07", labels, 1, 1, 2)
