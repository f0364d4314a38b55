"""How many pieces a peer may owe, and what counts against it when one is bad."""

from dfedge.core.seams import NodeId
from dfedge.transfer.credit import PROBATION, UNLIMITED, Credit

PEER = NodeId("peer")


def _proven(credit: Credit, pieces: int) -> None:
    for piece in range(pieces):
        assert credit.take(PEER, piece)
        credit.proven(PEER)
        credit.settle(PEER, piece)


def test_a_disk_that_rots_under_a_transfer_is_one_fault_and_what_is_asked_afterwards_another() -> None:
    credit = Credit()
    _proven(credit, UNLIMITED)
    for piece in (100, 101, 102, 103):
        assert credit.take(PEER, piece)
    faults = []
    for piece in (100, 101, 102, 103):
        faults.append(credit.spoiled(PEER, piece))
        credit.settle(PEER, piece)
    assert faults == [True, False, False, False]
    assert credit.take(PEER, 104)
    assert not credit.take(PEER, 105), "it owes one at a time now"
    assert credit.spoiled(PEER, 104)


def test_who_never_gave_a_good_piece_answers_for_each_bad_one() -> None:
    credit = Credit()
    for piece in (0, 1):
        assert credit.take(PEER, piece)
    assert not credit.take(PEER, 2)
    assert [credit.spoiled(PEER, piece) for piece in (0, 1)] == [True, True]


def test_a_bad_piece_is_remembered_over_sessions_until_its_giver_owns_up() -> None:
    credit = Credit()
    assert credit.bad_piece(PEER) is None
    credit.spoiled(PEER, 7)
    credit.forget(PEER)
    assert credit.bad_piece(PEER) == 7
    credit.owned_up(PEER, (6, 8))
    assert credit.bad_piece(PEER) == 7
    credit.owned_up(PEER, (7,))
    assert credit.bad_piece(PEER) is None


def test_a_piece_that_was_on_its_way_and_was_good_counts_again_when_it_is_bad_later() -> None:
    credit = Credit()
    _proven(credit, PROBATION)
    for piece in (100, 101):
        assert credit.take(PEER, piece)
    assert credit.spoiled(PEER, 100)
    credit.settle(PEER, 100)
    credit.proven(PEER)
    credit.settle(PEER, 101)
    assert credit.take(PEER, 101)
    assert credit.spoiled(PEER, 101)
