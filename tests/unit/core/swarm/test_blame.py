"""Who sends bytes that do not match is shut out, for longer each time; who did so once is not."""

from dfedge.core.seams import ImageId, NodeId
from dfedge.core.swarm.blame import FIRST_BAN_S, LONGEST_BAN_S, MAX_COMPLAINTS, MAX_IDS, WITHIN_S, WORKED_OFF, Blame

NODE = NodeId("n")
IMAGE = ImageId(bytes(32))


def spoil(blame: Blame, now: float, pieces: int = 3, node: NodeId = NODE) -> bool:
    return [blame.spoiled(node, IMAGE, piece, now).banned for piece in range(pieces)][-1]


def test_three_different_pieces_in_ten_minutes_ban_for_an_hour() -> None:
    blame = Blame()
    assert not spoil(blame, 0.0, pieces=2)
    assert blame.spoiled(NODE, IMAGE, 7, WITHIN_S).until == WITHIN_S + FIRST_BAN_S
    ban = blame.ban(NODE, WITHIN_S + FIRST_BAN_S - 1)
    assert ban is not None and "3 different pieces in 10 min" in ban.reason
    assert blame.banned(WITHIN_S + FIRST_BAN_S - 1).keys() == {NODE}
    assert blame.ban(NODE, WITHIN_S + FIRST_BAN_S) is None
    assert not blame.banned(WITHIN_S + FIRST_BAN_S)


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


def gives(blame: Blame, good: int) -> None:
    for _ in range(good):
        blame.proven(NODE)


def test_a_card_that_rots_again_and_again_and_gives_far_more_good_than_bad_is_not_shut_out() -> None:
    blame = Blame()
    for step in range(20):
        assert not blame.spoiled(NODE, IMAGE, step, float(step)).banned
        gives(blame, WORKED_OFF)


def test_who_mixes_bad_pieces_among_good_ones_is_shut_out_all_the_same() -> None:
    blame = Blame()
    gives(blame, 1000)  # what came before the first bad one makes up for nothing
    verdicts = []
    for step in range(3):
        verdicts.append(blame.spoiled(NODE, IMAGE, step, float(step)).banned)
        gives(blame, WORKED_OFF - 1)
    assert verdicts == [False, False, True]
    assert blame.ban(NODE, 3.0) is not None
    gives(blame, 10 * WORKED_OFF)
    assert blame.ban(NODE, 3.0) is not None  # nor does it end a ban


def test_each_ban_is_twice_as_long_up_to_a_week() -> None:
    blame, now, lengths = Blame(), 0.0, []
    for _ in range(12):
        assert spoil(blame, now)
        ban = blame.ban(NODE, now)
        assert ban is not None
        lengths.append(ban.until - now)
        now = ban.until + 1
    assert lengths[:3] == [FIRST_BAN_S, 2 * FIRST_BAN_S, 4 * FIRST_BAN_S]
    assert lengths[-1] == LONGEST_BAN_S


def test_a_crowd_of_ids_neither_fills_memory_nor_frees_the_banned() -> None:
    blame = Blame()
    spoil(blame, 0.0)
    for number in range(MAX_IDS + 100):
        blame.spoiled(NodeId(f"x{number}"), IMAGE, 1, 1.0)
    assert len(blame) == MAX_IDS
    assert blame.ban(NODE, 2.0) is not None


def test_three_sessions_ended_by_mistakes_ban_and_the_ban_says_which() -> None:
    blame = Blame()
    verdicts = [blame.mistaken(NODE, f"says Have out of turn {n}", 100.0 * n) for n in range(3)]
    assert [verdict.banned for verdict in verdicts] == [False, False, True]
    ban = blame.ban(NODE, 300.0)
    assert ban is not None and ban.until == 200.0 + FIRST_BAN_S and ban.reason.endswith("says Have out of turn 2")


def test_a_mistake_now_and_then_is_no_habit() -> None:
    blame = Blame()
    assert not any(blame.mistaken(NODE, "x", step * (WITHIN_S / 1.9)).banned for step in range(20))


def test_mistakes_and_bad_pieces_double_one_and_the_same_ban() -> None:
    blame = Blame()
    assert spoil(blame, 0.0)
    later = FIRST_BAN_S + 1
    assert [blame.mistaken(NODE, "x", later).until for _ in range(3)][-1] == later + 2 * FIRST_BAN_S


def test_a_ban_is_never_shortened_by_what_comes_during_it() -> None:
    blame = Blame()
    for _ in range(4):
        spoil(blame, 0.0)
    before = blame.ban(NODE, 1.0)
    assert before is not None
    blame.mistaken(NODE, "x", 2.0)
    assert blame.ban(NODE, 2.0) == before


def test_complaints_of_one_neighbour_cost_us_a_bounded_share_of_the_disk() -> None:
    blame = Blame()
    heard = [blame.heeds(NODE, float(second)) for second in range(int(WITHIN_S))]
    assert sum(heard) == MAX_COMPLAINTS
    assert blame.heeds(NodeId("other"), 1.0)
    assert blame.heeds(NODE, WITHIN_S + MAX_COMPLAINTS)
    assert blame.ban(NODE, WITHIN_S) is None
