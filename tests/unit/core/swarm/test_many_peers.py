"""What a node decides that has more peers than it would ask all at once."""

from dfedge.core.seams import NodeId
from dfedge.core.swarm import event as e
from dfedge.core.swarm.policy import Policy
from dfedge.core.swarm.swarm import Swarm

from .driving import A, asks, deliver, join, seed, shows, swarm

MANY = [NodeId(f"m{number}") for number in range(20)]
BIG = 1024 * 1024


def among_many() -> tuple[Swarm, list[tuple[NodeId, int]]]:
    """A node whose twenty peers have begun to serve it, and what it has asked of whom."""
    node = swarm(64, piece=BIG)
    for peer in MANY:
        join(node, peer, tuple(range(60)), opens=False)
    return node, [(peer, piece) for peer in MANY for piece in asks(node.handle(e.Unchoked(peer), 10.0))]


def test_of_many_peers_few_pieces_are_asked_at_a_time_so_that_they_do_not_wait_in_queues() -> None:
    _, asked = among_many()
    assert [peer for peer, _ in asked] == MANY[: Policy().far_outstanding]


def test_of_many_peers_one_that_waited_is_asked_when_a_piece_came() -> None:
    node, [(peer, piece), *_] = among_many()
    out = node.handle(e.Received(peer, piece, BIG), 10.1)
    assert [a.peer for a in out if isinstance(a, e.Ask)] == [MANY[Policy().far_outstanding]]


def test_silent_peers_do_not_keep_a_node_from_the_others() -> None:
    node, asked = among_many()
    assert asks(node.handle(e.Tick(), 10.0 + Policy().stalled_s / 2)) == []
    out = node.handle(e.Tick(), 10.0 + 1.5 * Policy().stalled_s)
    others = set(MANY) - {peer for peer, _ in asked}
    assert {a.peer for a in out if isinstance(a, e.Ask)} == others - set(MANY[16:])  # 16 MiB are out


def test_slow_peers_of_many_do_not_keep_a_node_from_the_fast_ones() -> None:
    node, owed = among_many()
    slow = {peer for peer, _ in owed}

    def answer(those: set[NodeId], now: float) -> None:
        for peer, piece in [each for each in owed if each[0] in those]:
            owed.remove((peer, piece))
            owed.extend((a.peer, a.piece) for a in deliver(node, peer, piece, now) if isinstance(a, e.Ask))

    owed += [(a.peer, a.piece) for a in node.handle(e.Tick(), 11.5) if isinstance(a, e.Ask)]  # beside the silent four
    answer(set(MANY) - slow, 11.6)
    answer(slow, 13.0)
    node.handle(e.Tick(), 13.1)
    for step in range(5):
        answer(set(MANY) - slow, 13.2 + 0.1 * step)
    assert slow <= {peer for peer, _ in owed}
    assert len({peer for peer, _ in owed} - slow) == Policy().far_outstanding


def test_the_seed_is_asked_for_what_nobody_else_has_however_much_others_owe() -> None:
    node, _ = among_many()
    assert asks(join(node, A, (62, 63), complete=True, now=10.1), A) in ([62], [63])
    [last] = asks(node.handle(e.Received(A, 62, BIG), 10.2)) or asks(node.handle(e.Received(A, 63, BIG), 10.2))
    assert last in {62, 63}  # the seed's own next, and nothing of others: its pieces are none of the few


def test_a_seed_of_many_gives_nothing_twice_while_a_piece_waits_to_be_fetched() -> None:
    node = seed(200)
    given = [(peer, piece) for peer in MANY for piece in shows(join(node, peer), peer)]
    slow, waiting = MANY[-1], []
    for peer, piece in given:
        if peer == slow:
            waiting.append(piece)
            continue
        for holder in (peer, MANY[(MANY.index(peer) + 1) % 19]):  # it passes it on at once
            out = node.handle(e.Shown(holder, (piece,), False), 0.1)
            given += [(a.peer, each) for a in out if isinstance(a, e.Show) for each in a.pieces]
    assert waiting
    assert sorted(piece for _, piece in given) == list(range(200))
    out = [a for piece in waiting for a in node.handle(e.Shown(slow, (piece,), False), 0.2)]
    assert 0 < sum(isinstance(a, e.Show) for a in out) <= Policy().far_outstanding
