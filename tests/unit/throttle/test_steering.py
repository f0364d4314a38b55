"""Who tells the throttle what: settings, a pause by command, a file that another program holds."""

from pathlib import Path

from dfedge.throttle.policy import Caps, Policy
from dfedge.throttle.steering import Steering


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def steering(hold_file: Path | None = None) -> tuple[Steering, list[Policy], Clock]:
    applied: list[Policy] = []
    clock = Clock()
    return Steering(Policy(), hold_file, applied.append, clock), applied, clock


def test_a_pause_ends_when_its_time_is_over() -> None:
    steer, applied, clock = steering()
    steer.pause(60.0)
    assert steer.pause_left_s == 60.0
    clock.now += 59.0
    steer.look()
    assert steer.paused
    clock.now += 1.0
    steer.look()
    assert steer.paused == ""
    assert [bool(policy.paused) for policy in applied] == [True, False]


def test_a_pause_without_an_end_lasts_until_somebody_resumes() -> None:
    steer, _, clock = steering()
    steer.pause(None)
    clock.now += 1e9
    steer.look()
    assert steer.pause_left_s is not None
    steer.resume()
    assert steer.paused == ""


def test_nothing_moves_while_an_application_holds_the_file_and_resume_does_not_take_it_from_it(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    steer, _, _ = steering(hold)
    hold.touch()
    steer.look()
    assert steer.paused == f"{hold} exists"
    steer.resume()
    assert steer.paused
    hold.unlink()
    steer.look()
    assert not steer.paused


def test_new_settings_hold_at_once_and_do_not_end_a_pause() -> None:
    steer, applied, _ = steering()
    steer.pause(None)
    steer.settings(Policy(host=Caps(up=1000.0)), None)
    assert applied[-1].host.up == 1000.0 and applied[-1].paused


def test_what_has_not_changed_is_not_handed_on_again() -> None:
    steer, applied, _ = steering()
    steer.look()
    steer.settings(Policy(), None)
    assert applied == []
