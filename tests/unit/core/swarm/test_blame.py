"""Who sends bytes that do not match is shut out, for longer each time; who did so once is not."""

from dfedge.core.seams import ImageId, NodeId
from dfedge.core.swarm.blame import FIRST_BAN_S, LONGEST_BAN_S, MAX_IDS, WITHIN_S, Blame

NODE = NodeId("n")
IMAGE = ImageId(bytes(32))


def spoil(blame: Blame, now: float, pieces: int = 3, node: NodeId = NODE) -> bool:
    return [blame.spoiled(node, IMAGE, piece, now).banned for piece in range(pieces)][-1]


def test_three_different_pieces_in_ten_minutes_ban_for_an_hour() -> None:
    blame = Blame()
    assert not spoil(blame, 0.0, pieces=2)
    assert blame.spoiled(NODE, IMAGE, 7, WITHIN_S).until == WITHIN_S + FIRST_BAN_S
    assert blame.banned_until(NODE, WITHIN_S + FIRST_BAN_S - 1) is not None
    assert blame.banned_until(NODE, WITHIN_S + FIRST_BAN_S) is None


def test_the_same_piece_three_times_is_one_strike() -> None:
    blame = Blame()
    assert [blame.spoiled(NODE, IMAGE, 1, float(at)).strikes for at in range(5)] == [1] * 5


def test_the_same_number_in_another_image_is_another_piece() -> None:
    blame = Blame()
    verdicts = [blame.spoiled(NODE, ImageId(bytes([n]) * 32), 1, 0.0) for n in range(3)]
    assert [verdict.banned for verdict in verdicts] == [False, False, True]


def test_old_strikes_are_forgotten() -> None:
    blame = Blame()
    for step in range(10):
        assert not blame.spoiled(NODE, IMAGE, step, step * (WITHIN_S / 1.9)).banned


def test_each_ban_is_twice_as_long_up_to_a_week() -> None:
    blame, now, lengths = Blame(), 0.0, []
    for _ in range(12):
        assert spoil(blame, now)
        until = blame.banned_until(NODE, now)
        assert until is not None
        lengths.append(until - now)
        now = until + 1
    assert lengths[:3] == [FIRST_BAN_S, 2 * FIRST_BAN_S, 4 * FIRST_BAN_S]
    assert lengths[-1] == LONGEST_BAN_S


def test_a_crowd_of_ids_neither_fills_memory_nor_frees_the_banned() -> None:
    blame = Blame()
    spoil(blame, 0.0)
    for number in range(MAX_IDS + 100):
        blame.spoiled(NodeId(f"x{number}"), IMAGE, 1, 1.0)
    assert len(blame) == MAX_IDS
    assert blame.banned_until(NODE, 2.0) is not None
