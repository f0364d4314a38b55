"""Whose a folder is: a hint never takes it from the user whose agent has to read it."""

import os
from pathlib import Path

import pytest

from dfedge.core.errors import Refused
from dfedge.trust.file import check_folder


@pytest.mark.parametrize(
    ("ours", "hint"),
    [
        (0, "dfedge service status, and start its agent; or: runuser -u #54321 -- dfedge …"),
        (7, "sudo -u #54321 dfedge …"),
    ],
)
def test_whoever_is_not_the_services_user_is_told_how_to_act_as_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: int, hint: str
) -> None:
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        status = list(real(path))
        status[4] = 54321
        return os.stat_result(status)

    monkeypatch.setattr(Path, "lstat", lstat)
    monkeypatch.setattr(os, "geteuid", lambda: ours)
    with pytest.raises(Refused, match=f"belongs to uid 54321, we are uid {ours}") as caught:
        check_folder(tmp_path)
    assert caught.value.hint == hint
