"""What a user loses if one fails: a node that was banned is let in again as soon as the board is restarted."""

from pathlib import Path

import pytest

from dfedge.core.seams import NodeId
from dfedge.core.swarm.blame import FIRST_BAN_S, LONGEST_BAN_S, STRIKES, Blame, Standing
from dfedge.trust.bans import BANS, MAX_KEPT, read_bans, write_bans

LIAR = NodeId("liar")
NOW = 2_000_000_000.0


def test_a_ban_lasts_as_long_over_a_restart_and_the_next_one_longer(tmp_path: Path) -> None:
    before = Blame()
    for _ in range(STRIKES):
        before.mistaken(LIAR, "rubbish", 50.0)
    write_bans(tmp_path, before.standing(50.0), NOW)

    after = Blame()
    after.restore(read_bans(tmp_path, NOW + 600), 5.0)
    ban = after.ban(LIAR, 5.0)
    assert ban is not None
    assert "rubbish" in ban.reason
    assert ban.until == pytest.approx(5.0 + FIRST_BAN_S - 600)
    for _ in range(STRIKES):
        verdict = after.mistaken(LIAR, "rubbish", ban.until)
    assert verdict.until == pytest.approx(ban.until + 2 * FIRST_BAN_S)


def test_a_ban_that_has_ended_is_not_taken_up(tmp_path: Path) -> None:
    write_bans(tmp_path, [Standing(LIAR, 100.0, 1, "")], NOW)
    assert read_bans(tmp_path, NOW + 101) == []


def test_a_clock_that_went_back_makes_no_ban_longer(tmp_path: Path) -> None:
    write_bans(tmp_path, [Standing(LIAR, 100.0, 1, "")], NOW)
    assert read_bans(tmp_path, NOW - 400 * 86400)[0].seconds == 100.0
    blame = Blame()
    blame.restore([Standing(LIAR, 1e9, 1, "")], 0.0)
    assert blame.ban(LIAR, LONGEST_BAN_S) is None


def test_a_broken_file_keeps_no_node_from_starting(tmp_path: Path) -> None:
    write_bans(tmp_path, [Standing(LIAR, 100.0, 1, "")], NOW)
    good = (tmp_path / BANS).read_bytes()
    for broken in (b"", b"x", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), bytes(len(good))):
        (tmp_path / BANS).write_bytes(broken)
        assert read_bans(tmp_path, NOW) == []


def test_the_file_is_bounded_and_keeps_the_longest(tmp_path: Path) -> None:
    write_bans(tmp_path, [Standing(NodeId(f"n{n}"), n + 1.0, 1, "r" * 9999) for n in range(1000)], NOW)
    kept = read_bans(tmp_path, NOW)
    assert len(kept) == MAX_KEPT
    assert min(ban.seconds for ban in kept) == 1000 - MAX_KEPT + 1
