"""What one node decides: each test says what goes wrong for its user otherwise."""

import pytest

from dfedge.core.image.piecemap import PieceMap
from dfedge.core.seams import NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.policy import Policy

from .driving import PIECE, A, B, C, D, asks, deliver, join, seed, shows, swarm

# Asking.


def test_nothing_is_asked_of_a_peer_that_does_not_serve_us() -> None:
    node = swarm()
    assert asks(join(node, A, (1, 2, 3), opens=False)) == []
    assert len(asks(node.handle(e.Unchoked(A), 0.0))) == 2


def test_the_piece_that_fewest_show_is_asked_first() -> None:
    node = swarm()
    for peer in (A, B, C):
        join(node, peer, (1, 2, 3, 4), opens=False)
    join(node, D, (4, 3, 9, 2, 1), opens=False)
    assert asks(node.handle(e.Unchoked(D), 0.0))[0] == 9


def test_a_piece_that_became_common_gives_way_to_a_rarer_one() -> None:
    node = swarm(policy=Policy(depth_near=1, few_sources=0))
    first = asks(join(node, A, (1, 2, 3)))[0]
    rest = [piece for piece in (1, 2, 3) if piece != first]
    for peer in (B, C):
        join(node, peer, (rest[0],), opens=False)
    assert asks(node.handle(e.Received(A, first, PIECE), 0.1)) == [rest[1]]


def test_a_piece_is_asked_of_one_peer_at_a_time() -> None:
    node = swarm(pieces=4)
    asked = [piece for peer in (A, B, C) for piece in asks(join(node, peer, (0, 1, 2, 3)))]
    assert sorted(asked) == sorted(set(asked))


def test_the_next_piece_is_asked_before_the_last_one_is_proven() -> None:
    node = swarm(policy=Policy(depth_near=1, few_sources=0))
    first = asks(join(node, A, tuple(range(16))))[0]
    assert asks(node.handle(e.Received(A, first, PIECE // 2), 0.1)) == []
    assert len(asks(node.handle(e.Received(A, first, PIECE // 2), 0.2))) == 1


def test_a_lone_source_is_kept_busy_with_a_mebibyte_once_it_has_answered() -> None:
    node = swarm(pieces=64, policy=Policy(pipeline_bytes=1024 * 1024))
    asked = asks(join(node, A, tuple(range(64))))
    assert len(asked) == 2
    asked += asks(node.handle(e.Received(A, asked[0], PIECE), 0.1))
    assert len(asked) - 1 == 8
    assert node.peers[A].outstanding_bytes == 8 * PIECE


def test_memory_is_bounded_however_many_peers_could_send() -> None:
    big = 4 * 1024 * 1024
    node = swarm(pieces=100, piece=big)
    for number in range(20):
        join(node, NodeId(f"p{number}"), tuple(range(100)))
    assert sum(peer.outstanding_bytes for peer in node.peers.values()) == 16 * 1024 * 1024


def test_one_piece_is_fetched_though_it_is_larger_than_the_memory_for_it() -> None:
    node = swarm(policy=Policy(max_outstanding_bytes=1))
    assert len(asks(join(node, A, (1, 2, 3)))) == 1


def test_a_peer_that_stops_serving_us_loses_its_pieces_to_others() -> None:
    node = swarm(pieces=2)
    asked = asks(join(node, A, (0, 1)))
    assert sorted(asked) == [0, 1]
    join(node, B, (0, 1))
    assert sorted(asks(node.handle(e.Choked(A), 1.0), B)) == [0, 1]


def test_a_peer_that_leaves_loses_its_pieces_to_others() -> None:
    node = swarm(pieces=2)
    join(node, A, (0, 1))
    join(node, B, (0, 1))
    assert sorted(asks(node.handle(e.Left(A), 1.0), B)) == [0, 1]
    assert A not in node.peers


def test_a_refused_piece_is_not_asked_again_until_it_is_shown_again() -> None:
    node = swarm(pieces=1)
    assert asks(join(node, A, (0,))) == [0]
    assert asks(node.handle(e.Rejected(A, 0), 1.0)) == []
    assert asks(node.handle(e.Tick(), 2.0)) == []
    assert asks(node.handle(e.Shown(A, (0,), False), 3.0)) == [0]


def test_a_piece_refused_because_of_a_choke_is_asked_again_after_it() -> None:
    node = swarm(pieces=1)
    join(node, A, (0,))
    node.handle(e.Rejected(A, 0), 1.0)  # the refusal overtook the choke on the other channel
    node.handle(e.Choked(A), 1.0)
    assert asks(node.handle(e.Unchoked(A), 2.0)) == [0]


def test_a_spoiled_piece_is_asked_of_another_and_never_of_that_peer_again() -> None:
    node = swarm(pieces=1)
    join(node, A, (0,))
    join(node, B, (0,))
    node.handle(e.Received(A, 0, PIECE), 1.0)
    assert asks(node.handle(e.Spoiled(0, A), 1.0), B) == [0]
    node.handle(e.Left(B), 2.0)
    assert asks(node.handle(e.Shown(A, (0,), True), 3.0)) == []
    assert node.peers[A].bytes_wasted == PIECE


def test_a_piece_withdrawn_by_its_only_holder_is_fetched_when_somebody_shows_it() -> None:
    node = swarm(pieces=1)
    join(node, A, (0,))
    node.handle(e.Withdrawn(A, (0,)), 1.0)
    assert node.peers[A].outstanding == 0
    assert asks(join(node, B, (0,))) == [0]


def test_a_silent_peer_is_snubbed_and_its_pieces_asked_elsewhere() -> None:
    node = swarm(pieces=4)
    mine = asks(join(node, A, (0, 1, 2, 3)))
    join(node, B, (0, 1, 2, 3))
    node.handle(e.Received(B, next(iter(node.peers[B].asked)), 1), 5.0)
    out = node.handle(e.Tick(), 5.1)
    assert [a.peer for a in out if isinstance(a, e.Snub)] == [A]
    assert node.peers[A].snubbed
    assert node.peers[A].outstanding == 1  # its probe
    for piece in list(node.peers[B].asked):
        deliver(node, B, piece, 5.2)
    while node.peers[B].asked:
        deliver(node, B, next(iter(node.peers[B].asked)), 5.3)
    assert node.complete
    assert set(mine) <= set(node.holds)


def test_a_snubbed_peer_that_delivers_is_trusted_again() -> None:
    node = swarm(pieces=4)
    first = asks(join(node, A, (0, 1, 2, 3)))[0]
    node.handle(e.Tick(), 5.0)
    assert node.peers[A].snubbed
    out = deliver(node, A, first, 6.0)
    assert not node.peers[A].snubbed
    assert len(asks(out)) == 3


def test_a_slow_peer_that_keeps_sending_is_not_snubbed() -> None:
    node = swarm(pieces=4)
    first = asks(join(node, A, (0, 1, 2, 3)))[0]
    for second in range(1, 60):
        node.handle(e.Received(A, first, 1), float(second))
        assert not any(isinstance(a, e.Snub) for a in node.handle(e.Tick(), float(second)))


def test_the_last_piece_of_a_slow_peer_is_asked_of_an_idle_one_too_and_the_loser_told() -> None:
    node = swarm(pieces=1)
    join(node, A, (0,))
    join(node, B, (0,))
    node.handle(e.Received(A, 0, 1), 0.1)
    assert asks(node.handle(e.Tick(), 1.0)) == []
    assert asks(node.handle(e.Tick(), 2.5), B) == [0]
    out = deliver(node, B, 0, 2.6)
    assert [(a.peer, a.piece) for a in out if isinstance(a, e.Drop)] == [(A, 0)]
    assert any(isinstance(a, e.Finished) for a in out)


def test_a_last_piece_that_was_not_begun_moves_to_an_idle_peer() -> None:
    node = swarm(pieces=1)
    join(node, A, (0,))
    join(node, B, (0,))
    assert asks(node.handle(e.Tick(), 1.0)) == []
    out = node.handle(e.Tick(), 2.25)
    assert [(type(a), a.peer) for a in out if isinstance(a, e.Ask | e.Drop)] == [(e.Drop, A), (e.Ask, B)]


def test_a_last_piece_does_not_move_between_slow_peers_for_ever() -> None:
    node = swarm(pieces=1, policy=Policy(snub_s=0.5, first_snub_s=1e9))
    join(node, A, (0,))
    join(node, B, (0,))
    asked = [now for now in range(1, 2000) if asks(node.handle(e.Tick(), now * 0.25))]
    assert len(asked) <= 10


def test_a_piece_that_rotted_on_our_disk_is_fetched_again() -> None:
    node = seed(4)
    join(node, A, (0, 1, 2, 3), complete=True)
    assert not node.handle(e.Tick(), 1.0)
    assert asks(node.handle(e.Lost(2), 2.0)) == [2]
    assert not node.complete
    assert any(isinstance(a, e.Finished) for a in deliver(node, A, 2, 3.0))


def test_events_of_strangers_and_of_the_past_change_nothing() -> None:
    node = swarm(pieces=2)
    for event in (
        e.Left(A), e.Shown(A, (0,), False), e.Withdrawn(A, (0,)), e.Choked(A), e.Unchoked(A),
        e.Received(A, 0, 1), e.Rejected(A, 0), e.Spoiled(0, A),
    ):  # fmt: skip
        assert node.handle(event, 1.0) == []
    join(node, A, (0, 1))
    assert node.handle(e.Received(A, 0, PIECE), 1.0) is not None
    node.handle(e.Proven(0, A), 1.0)
    assert node.handle(e.Proven(0, A), 1.0) == []
    assert node.handle(e.Rejected(A, 0), 1.0) == []


# Showing.


def test_a_proven_piece_is_shown_to_those_that_lack_it_and_to_the_seed() -> None:
    node = swarm()
    join(node, A, (5,))
    join(node, B, ())
    join(node, C, (1, 2), complete=True)
    out = deliver(node, A, 5, 1.0)
    assert (shows(out, A), shows(out, B), shows(out, C)) == ([], [5], [5])


def test_what_was_proven_between_our_join_and_theirs_is_shown_after_all() -> None:
    node = swarm(held=(1,))
    assert list(node.greeting(B, 0.0)) == [1]
    join(node, A, (5,))
    deliver(node, A, 5, 0.5)
    assert shows(join(node, B), B) == [5]


def test_a_seed_shows_each_piece_to_one_peer_only() -> None:
    node = seed(64)
    shown: list[int] = []
    for peer in (A, B, C, D):
        out = join(node, peer)
        shown += [piece for other in (A, B, C, D) for piece in shows(out, other)]
    assert len(shown) == len(set(shown)) > 0


def test_a_seed_gives_more_when_its_pieces_were_passed_on() -> None:
    node = seed(64)
    given = {peer: shows(join(node, peer), peer) for peer in (A, B, C)}
    out = [action for piece in given[B] for action in node.handle(e.Shown(B, (piece,), False), 0.1)]
    assert shows(out, B) == []  # it holds them, but has passed none on
    passed = node.handle(e.Shown(C, (given[B][0],), False), 0.2)
    assert len([a for a in passed if isinstance(a, e.Show)]) > 0


def test_pieces_of_a_peer_that_left_are_given_to_another() -> None:
    node = seed(12)
    given = {peer: set(shows(join(node, peer), peer)) for peer in (A, B, C)}
    later: set[int] = set()
    node.handle(e.Left(B), 1.0)
    for step in range(2000):
        now = 1.0 + step * 0.1
        for action in node.handle(e.Tick(), now):
            if isinstance(action, e.Show):
                later |= set(action.pieces)
                node.handle(e.Shown(action.peer, action.pieces, False), now)
    assert given[B] <= later


def test_a_seed_alone_with_one_peer_keeps_showing_ahead() -> None:
    node = seed(256)
    ahead = shows(join(node, A), A)
    seen = set(ahead)
    while ahead:
        piece = ahead.pop(0)
        more = shows(node.handle(e.Shown(A, (piece,), False), 0.1), A)
        seen |= set(more)
        ahead += more
    assert len(seen) == 256


def test_a_seed_greets_with_what_the_peer_is_to_have() -> None:
    node = seed(64)
    out = node.handle(e.Joined(A, PieceMap(64), False), 0.0)
    assert sorted(node.greeting(A, 0.0)) == sorted(shows(out, A))


def test_a_seed_says_nothing_to_another_seed() -> None:
    node = seed(16)
    assert join(node, A, (), complete=True) == []
    assert node.is_complete(A)


# Serving, and telling people.


def test_everybody_who_misses_something_is_served_while_they_fit() -> None:
    node = swarm()
    assert any(isinstance(a, e.Serve) for a in join(node, A))
    assert not any(isinstance(a, e.Serve) for a in join(node, B, complete=True))


def test_beyond_the_slots_each_has_its_turn() -> None:
    node = swarm(policy=Policy(slots=2))
    served: dict[NodeId, int] = {NodeId(f"p{number}"): 0 for number in range(6)}
    for peer in served:
        join(node, peer)
    for turn in range(1, 31):
        node.handle(e.Tick(), turn * 10.0)
        now_served = [peer.id for peer in node.peers.values() if peer.served]
        assert len(now_served) == 2
        for peer in now_served:
            served[peer] += 1
    assert max(served.values()) - min(served.values()) <= 2


def test_a_peer_is_told_that_it_waits_only_if_it_was_served() -> None:
    node = swarm(policy=Policy(slots=1))
    said: dict[NodeId, bool] = {}
    for turn in range(20):
        out = node.handle(e.Tick(), turn * 10.0) if turn > 2 else join(node, NodeId(f"p{turn}"))
        for action in out:
            if isinstance(action, e.Serve | e.Refuse):
                assert said.get(action.peer, False) is isinstance(action, e.Refuse)
                said[action.peer] = isinstance(action, e.Serve)


def test_why_says_what_each_missing_piece_waits_for() -> None:
    node = swarm(pieces=10)
    assert node.held_back(0.0) == [("10 missing pieces: no peer is in the swarm", 1.0)]
    join(node, A, (0, 1, 2, 3, 4), opens=False)
    reasons = dict(node.held_back(0.0))
    assert reasons["all 1 peers choke us"] == pytest.approx(0.5)
    assert reasons["5 missing pieces: no peer shows them"] == pytest.approx(0.5)
    node.handle(e.Unchoked(A), 0.0)
    assert sum(share for _, share in node.held_back(3.0)) == pytest.approx(1.0)
    assert any("from a, which sent nothing for 3 s" in reason for reason, _ in node.held_back(3.0))


def test_what_a_peer_was_to_have_goes_to_another_when_it_must_wait_for_a_slot() -> None:
    node = swarm(8, tuple(range(8)), policy=Policy(slots=1))
    given = shows(join(node, A), A)
    join(node, B)
    out = [action for turn in range(1, 4) for action in node.handle(e.Tick(), turn * 10.0)]
    assert any(isinstance(a, e.Refuse) and a.peer == A for a in out)
    assert set(given) & set(shows(out, B))


def test_a_piece_that_nobody_fetches_from_its_first_holder_does_not_stop_the_seed() -> None:
    node = seed(40)  # the peers see only the seed
    had: dict[NodeId, set[int]] = {peer: set(shows(join(node, peer), peer)) for peer in (A, B, C)}
    for peer, pieces in had.items():
        for piece in pieces:
            node.handle(e.Shown(peer, (piece,), False), 0.1)
    for step in range(600):
        now = 0.25 * step + 0.25
        for action in node.handle(e.Tick(), now):
            if isinstance(action, e.Show):
                had[action.peer] |= set(action.pieces)
                node.handle(e.Shown(action.peer, action.pieces, False), now)
    assert all(len(pieces) == 40 for pieces in had.values())


def test_a_peer_whose_late_piece_is_being_proven_is_not_asked_for_it_again() -> None:
    node = swarm(pieces=2)
    first, second = asks(join(node, A, (0, 1)))
    join(node, B, (0, 1))
    assert set(asks(node.handle(e.Tick(), 30.0), B)) == {first, second}  # A is silent: its first request is a probe
    node.handle(e.Proven(second, A), 31.0)
    assert asks(node.handle(e.Received(A, first, PIECE), 60.0), A) == []
    assert isinstance(node.handle(e.Proven(first, A), 60.1)[-1], e.Finished)


def test_what_was_proven_is_told_once_to_those_who_lack_it_and_to_a_seed() -> None:
    node = swarm()
    join(node, A, (1, 2))
    join(node, B, (1,))
    join(node, C, (1,), complete=True)
    for piece in (1, 2):
        node.decide(e.Proven(piece, A), 0.1)
    assert dict(node.news()) == {B: (2,), C: (1, 2)}
    assert node.news() == []
