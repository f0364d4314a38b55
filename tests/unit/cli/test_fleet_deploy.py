"""`fleet deploy`, `renew` and `list` as an operator types and reads them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakehost import FakeHost, Network

from dfedge.jobs import connect_ssh
from dfedge.jobs.enroll import list_nodes


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "dfedge.pyz", "w") as archive:
        archive.writestr("__main__.py", "")
    return tmp_path / "dfedge.pyz"


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network(**{name: FakeHost(tmp_path / name) for name in ("gw-1", "gw-2")})
    monkeypatch.setattr(connect_ssh, "connect", network.connect)
    return network


def test_the_operator_sees_each_step_a_table_and_what_to_try(
    dfedge: Callable[..., Any], network: Network, pyz: Path
) -> None:
    dfedge("fleet", "init")
    network.hosts["gw-2"].python = ""
    ran = dfedge("fleet", "deploy", "gw-1", "pi@gw-2", "--file", pyz, "--label", "site=hall-2")
    assert ran.code == 1
    header, first, second = ran.out.splitlines()
    assert header.split() == ["HOST", "NODE", "STATE", "ENDS", "SEEN", "NOTE"]
    assert first.split()[:3] == ["gw-1", "gw-1", "healthy"]
    assert second.split() == ["pi@gw-2", "-", "failed", "-", "-", "refused"]
    assert "gw-1     check    x86_64, Python 3.11.2, root" in ran.err
    assert "pi@gw-2  failed   has no python3, dfedge needs 3.11 or newer" in ran.err
    assert "dfedge: pi@gw-2: has no python3, dfedge needs 3.11 or newer [refused]" in ran.err
    assert "  try: ssh pi@gw-2 apt-get install python3" in ran.err
    assert ran.err.splitlines()[-1] == "1 of 2 hosts failed; the same command again does what is missing"


def test_a_script_gets_a_line_a_step_and_one_result(dfedge: Callable[..., Any], network: Network, pyz: Path) -> None:
    dfedge("fleet", "init")
    ran = dfedge("fleet", "deploy", "gw-1", "nobody", "--file", pyz, "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert {line["type"] for line in lines[:-1]} == {"step"}
    assert (ran.code, lines[-1]["type"], lines[-1]["ok"]) == (1, "result", False)
    good, bad = lines[-1]["hosts"]
    assert (good["host"], good["name"], good["state"], "code" in good) == ("gw-1", "gw-1", "healthy", False)
    assert (bad["host"], bad["state"], bad["code"], bad["hint"]) == ("nobody", "failed", "refused", "ssh nobody")


def test_nodes_that_were_carried_are_renewed_by_a_folder(
    dfedge: Callable[..., Any], network: Network, pyz: Path, tmp_path: Path
) -> None:
    dfedge("fleet", "init")
    dfedge("fleet", "deploy", "gw-1", "--file", pyz)
    dfedge("fleet", "enroll", "kiosk", "--out", tmp_path / "kiosk", "--days", "9")
    assert dfedge("fleet", "renew", "--before", "2d").out == "nothing to renew\n"
    ran = dfedge("fleet", "renew", "--before", "30d")
    assert ran.code == 1
    assert "kiosk: was not deployed from here" in ran.err and "dfedge fleet renew kiosk --out DIR" in ran.err
    ran = dfedge("fleet", "renew", "kiosk", "--out", tmp_path / "carry")
    assert ran.code == 0
    assert (tmp_path / "carry" / "kiosk" / "node.record").exists()
    ran = dfedge("fleet", "renew", "gw-1", "--dry-run")
    assert (ran.code, "would" in ran.out) == (0, True)
    assert dfedge("fleet", "renew", "gw-1").code == 0
    serials = {node.name: node.serial for node in list_nodes(tmp_path / "fleet")}
    assert serials == {"gw-1": 2, "kiosk": 2}


def test_the_list_says_which_version_a_node_runs_and_when_it_was_seen(
    dfedge: Callable[..., Any], agent: Callable[..., None], tmp_path: Path
) -> None:
    dfedge("fleet", "init")
    ids = [
        dfedge("fleet", "enroll", name, "--out", tmp_path / name, "--label", "site=x", "--json").document["id"]
        for name in ("here", "near", "off", "away")
    ]

    async def status(params: Any, call: Any) -> dict[str, object]:
        return {"node": {"id": ids[0]}, "version": "1.1"}

    async def peers(params: Any, call: Any) -> dict[str, object]:
        near = {"id": ids[1], "state": "connected", "agent": "dfedge 1.0", "seen": 0}
        return {"peers": [near, {"id": ids[2], "state": "seen", "agent": "", "seen": 7200}, {"id": None}]}

    assert [row["seen"] for row in dfedge("fleet", "list", "--json").document["nodes"]] == [None] * 4
    agent({"status": status, "peers": peers})
    rows = {line.split()[0]: line.split() for line in dfedge("fleet", "list").out.splitlines()}
    assert rows["NODE"] == ["NODE", "ID", "STATE", "ENDS", "VERSION", "SEEN", "LABELS"]
    assert [rows[name][4:] for name in ("here", "near", "off", "away")] == [
        ["1.1", "now", "site=x"],
        ["1.0", "now", "site=x"],
        ["-", "2", "h", "ago", "site=x"],
        ["-", "-", "site=x"],
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("deploy gw-1", "this dfedge is not in one file; say which to copy"),
        ("deploy gw-1 gw-1 --file x", "gw-1 is named twice"),
        ("deploy gw-1 --parallel 0", '"0" hosts at once; 1 to 64 are allowed'),
        ("deploy a;b", '"a;b" is no host; write one as in'),
        ("deploy gw-1 --become su", "invalid choice: 'su'"),
        ("renew", "name nodes, or say --before TIME"),
        ("renew a --before 2d", "name nodes, or say --before TIME"),
        ("deploy gw-1 --file {pyz} --days 0", "days is 0, 1 to 36,500 are allowed"),
        ("deploy gw-1 --file {pyz} --label A=x", 'label "A" must be of'),
    ],
)
def test_what_cannot_be_is_told_before_anybody_is_called(
    dfedge: Callable[..., Any], network: Network, pyz: Path, line: str, said: str
) -> None:
    ran = dfedge("fleet", *line.format(pyz=pyz).split())
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert network.most == 0


def test_without_a_fleet_nobody_is_called(dfedge: Callable[..., Any], network: Network, pyz: Path) -> None:
    ran = dfedge("fleet", "deploy", "gw-1", "--file", pyz)
    assert ran.code == 1
    assert "no fleet is here" in ran.err and "try: dfedge fleet init" in ran.err
    assert network.most == 0
