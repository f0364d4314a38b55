"""What is spent of the uplink, kept over a restart."""

from datetime import date
from pathlib import Path

import pytest

from dfedge.node.uplinkfile import NAME, UplinkFile
from dfedge.throttle.quota import Used


def test_what_was_spent_is_still_spent_after_a_restart(tmp_path: Path) -> None:
    used = Used(date(2026, 11, 27), 5, 7)
    UplinkFile(tmp_path).write(used)
    assert UplinkFile(tmp_path).read() == used
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_node_that_never_spent_anything_has_no_file(tmp_path: Path) -> None:
    assert UplinkFile(tmp_path).read() is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b'{"day": "x", "in_day": 1, "in_month": 1}', b'{"day": 3}', b"9" * 5000]
)
def test_a_broken_file_stops_no_agent(tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_bytes(data)
    assert UplinkFile(tmp_path).read() is None
    assert "counted anew" in caplog.text
