"""`dfedge selftest`: an update that can't work here is found out before it is switched to."""

import json
from typing import Any

import pytest

from dfedge.cli.app import main
from dfedge.node import selftest


def test_a_machine_on_which_dfedge_works_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 6, lines
    assert "ssh chacha20-poly1305" in "\n".join(lines)


def test_one_part_that_fails_fails_it_and_the_others_are_still_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> str:
        raise OSError("no loopback")

    monkeypatch.setattr(selftest, "loopback", broken)
    assert main(["selftest", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    checks = {check["check"]: check for check in document["checks"]}
    assert checks["ssh aes128-gcm"]["text"] == "OSError: no loopback"
    assert (checks["sqlite"]["ok"], checks["hashing"]["ok"]) == (True, True)
