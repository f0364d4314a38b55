"""The other commands: what they ask of the agent, and what they make of its answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dfedge.cli import embedded
from dfedge.cli.field import rows
from dfedge.core.errors import NotFound
from dfedge.node.control import Call, Handler, serve
from dfedge.node.controlframe import Document

StartAgent = Callable[[Mapping[str, Handler]], None]
IMAGE = {
    "image": "sha256:" + "9f" * 32, "name": "gateway", "version": "2.4.1", "bytes": 2**20, "have_bytes": 2**20,
    "complete": True, "pinned": True,
}  # fmt: skip
PARTIAL = {**IMAGE, "name": "kiosk", "version": "1.9", "have_bytes": 2**19, "complete": False, "pinned": False}
ANSWERS: Mapping[str, Document] = {
    "ls": {"images": [IMAGE, PARTIAL]},
    "rm": {**IMAGE, "freed": 2**20},
    "pin": IMAGE,
    "unpin": IMAGE,
    "gc": {"freed": 2**20, "images": [PARTIAL], "dry_run": True},
    "verify": {"checked": 100, "bad": 2, "repaired": 2},
    "status": {
        "node": {"id": "a" * 52, "name": "gw-12"}, "fleet": "f" * 32, "fleet_name": "acme-plant", "listen": ":7411",
        "uptime": 260_000, "images": 3, "peers": 9, "rate_down": 0.0, "certificate_days": 212,
        "throttle": {"enabled": True, "max_up": 5_000_000, "max_down": None, "reason": ""}, "degraded": None,
        "store": {"path": "/var/lib/dfedge", "bytes": 2**30, "quota": 2**32, "free": 2**33}, "warnings": [],
    },
    "peers": {"peers": [
        {"id": "b" * 52, "name": "kiosk-07", "addresses": ["192.0.2.7:7411"], "via": "mdns", "state": "connected",
         "reason": "", "banned_until": None, "bytes_down": 2**21, "bytes_up": 0, "images": ["gateway:2.4.1"]},
        {"id": None, "name": None, "addresses": [], "via": "static", "state": "refused", "reason": "of another fleet",
         "banned_until": None, "bytes_down": 0, "bytes_up": 0, "images": []},
    ]},
    "where": {"nodes": [{"node": "a" * 52, "name": "gw-12", "have_bytes": 71, "missing_bytes": 29, "connected": True}]},
    "why": {"images": [{
        "name": "gateway", "version": "2.4.1", "bytes_total": 100, "bytes_done": 58, "rate": 5_125_000,
        "reasons": [{"reason": "gw-31 does not serve us", "share": 0.25}, {"reason": "slow", "peer": "gw-12"}],
    }]},
}  # fmt: skip


@pytest.fixture
def asked(agent: StartAgent) -> dict[str, Document]:
    """An agent that answers from the table; the params of each verb as they came."""
    params: dict[str, Document] = {}

    def answering(verb: str) -> Handler:
        async def answer(said: Document, call: Call) -> Document:
            params[verb] = said
            return ANSWERS[verb]

        return answer

    agent({verb: answering(verb) for verb in ANSWERS})
    return params


@pytest.mark.parametrize(
    ("line", "params", "said"),
    [
        ("ls", {}, "gateway:2.4.1  sha256:9f9f9f9f9f9f  1.0 MiB  complete  pinned\nkiosk:1.9 "),
        ("rm gateway:2.4.1", {"ref": "gateway:2.4.1", "dry_run": False}, "removed gateway:2.4.1, 1.0 MiB"),
        ("rm gateway --dry-run", {"ref": "gateway", "dry_run": True}, "would remove gateway:2.4.1"),
        ("pin gateway", {"ref": "gateway"}, "pinned gateway:2.4.1"),
        ("unpin sha256:9f9f9f9f", {"ref": "sha256:9f9f9f9f"}, "unpinned gateway:2.4.1"),
        ("gc --dry-run", {"dry_run": True}, "would free 1.0 MiB: kiosk:1.9"),
        (
            "verify gateway --repair",
            {"ref": "gateway", "repair": True, "rebuild_index": False},
            "100 proven again, 2 bad, 2 repaired",
        ),
        ("status", {}, "● gw-12  serving for 3 d 13 min   fleet acme-plant   cert 212 d left"),
        ("peers", {}, "kiosk-07  192.0.2.7:7411  mdns    connected  2.0 MiB  0 B  gateway:2.4.1"),
        ("where gateway", {"ref": "gateway", "timeout": None}, "71 B     29 B   71 %  yes"),
        ("where gateway --timeout 5s", {"ref": "gateway", "timeout": 5.0}, "CONNECTED"),
        ("why gateway", {"ref": "gateway"}, "gateway:2.4.1 is at 58 %, 41 Mbit/s\n  1. gw-31 does not serve us"),
        ("why", {"ref": None}, "  2. gw-12: slow"),
    ],
)
def test_a_command_asks_the_agent_and_tells_people(
    asked: dict[str, Document], dfedge: Any, line: str, params: Document, said: str
) -> None:
    ran = dfedge(*line.split())
    assert ran.code == 0
    assert said in ran.out
    assert asked[line.split(maxsplit=1)[0]] == params


@pytest.mark.parametrize("line", ["ls", "rm a", "pin a", "unpin a", "gc", "status", "peers", "where a", "why"])
def test_scripts_get_the_agents_document_whole(asked: dict[str, Document], dfedge: Any, line: str) -> None:
    ran = dfedge(*line.split(), "--json")
    assert json.loads(ran.out) == {"v": 1, **ANSWERS[line.split(maxsplit=1)[0]]}
    assert ran.err == ""


def test_verify_is_one_result_line_and_fails_if_something_spoilt_is_left(dfedge: Any, agent: StartAgent) -> None:
    async def verify(params: Document, call: Call) -> Document:
        return {"checked": 9, "bad": 2, "repaired": 1}

    agent({"verify": verify})
    ran = dfedge("verify", "--json")
    assert (ran.code, ran.document["type"], ran.document["ok"]) == (1, "result", False)
    assert dfedge("verify").err == "  try: dfedge verify --repair\n"


def test_gc_says_what_goes_why_and_what_is_short_even_so(dfedge: Any, agent: StartAgent) -> None:
    gone = {"image": None, "name": "kiosk:1.9", "bytes": 2**20, "reason": "not pinned, not in use"}

    async def gc(params: Document, call: Call) -> Document:
        return {"freed": 2**20, "images": [gone], "because": "9 B is free", "short": "gw:1 is pinned", "dry_run": True}

    agent({"gc": gc})
    ran = dfedge("gc", "--dry-run")
    assert ran.out == (
        "would free 1.0 MiB: kiosk:1.9\n  because 9 B is free\n  kiosk:1.9  1.0 MiB  not pinned, not in use\n"
    )
    assert ran.err == "dfedge: warning: gw:1 is pinned\n"


CAP = {
    "enabled": True, "budget_up": None, "budget_down": 2_500_000, "reason": "cap of 20 Mbit/s down",
    "setting": "throttle.max_down", "paused": None, "paused_by": None, "pause_left": None,
}  # fmt: skip
PAUSE = {"budget_up": 0, "budget_down": 0, "reason": "paused: by command", "setting": "throttle.hold_file"}


@pytest.mark.parametrize(
    ("throttle", "said"),
    [
        (CAP, "up no limit, down 20 Mbit/s: cap of 20 Mbit/s down (throttle.max_down)"),
        ({**CAP, "budget_down": None, "reason": "no limit", "setting": ""}, "no limit"),
        ({**CAP, "enabled": False}, "off"),
        (
            {**CAP, **PAUSE, "paused": "by command, for a time", "paused_by": "command", "pause_left": 7200.0},
            "paused for 2 h: by command, for a time      try: dfedge throttle resume",
        ),
        ({**CAP, **PAUSE, "paused": "/run/hold exists", "paused_by": "file"}, "paused: /run/hold exists"),
    ],
)
def test_status_says_the_budget_and_the_one_reason(
    dfedge: Any, agent: StartAgent, throttle: Document, said: str
) -> None:
    async def status(params: Document, call: Call) -> Document:
        return {**ANSWERS["status"], "throttle": throttle}

    agent({"status": status})
    assert f"  throttle  {said}\n" in dfedge("status").out + "\n"


def test_why_says_what_each_reason_costs_what_is_no_matter_and_what_to_change(dfedge: Any, agent: StartAgent) -> None:
    cap = {
        "reason": "the throttle: cap of 41 Mbit/s down", "share": 1.0, "kind": "throttle",
        "cost": 6_625_000, "cost_share": 0.5638,
        "setting": "throttle.max_down", "value": 5_125_000, "source": "/etc/dfedge/dfedge.toml:14",
        "try": "raise throttle.max_down",
    }  # fmt: skip
    idle = [{"what": "CPU", "value": "31% busy"}, {"what": "temperature", "value": "57 °C"}]
    image: Document = ANSWERS["why"]["images"][0]  # type: ignore[index]

    async def why(params: Document, call: Call) -> Document:
        told = {
            **image,
            "line": 11_750_000,
            "way": "down",
            "reasons": [cap, *rows(image, "reasons")],
            "not_limiting": idle,
        }
        return {"images": [told]}

    agent({"why": why})
    assert dfedge("why", "gateway").out.splitlines() == [
        "gateway:2.4.1 is at 58 %, 41 Mbit/s. The line could do about 94 Mbit/s.",
        "  1. the throttle: cap of 41 Mbit/s down   -53 Mbit/s (56 % of the line)",
        "  2. gw-31 does not serve us   25 % of the missing pieces",
        "  3. gw-12: slow",
        "  not limiting: CPU (31% busy), temperature (57 °C)",
        "  try: raise throttle.max_down, now 41 Mbit/s (/etc/dfedge/dfedge.toml:14)",
    ]


def test_status_says_what_was_given_back(dfedge: Any, agent: StartAgent) -> None:
    evicted = {"images": 2, "bytes": 2**20, "last": "kiosk:1.9", "because": "9 B is free, 1.0 MiB is to stay free"}

    async def status(params: Document, call: Call) -> Document:
        return {**ANSWERS["status"], "store": {"path": "/s", "bytes": 0, "quota": 0, "free": 9, "evicted": evicted}}

    agent({"status": status})
    assert (
        "evicted 2 images, 1.0 MiB since the start; the last kiosk:1.9: 9 B is free, 1.0 MiB is to stay free"
        in dfedge("status").out
    )


@pytest.mark.parametrize("verb", ["pin", "unpin"])
def test_a_dry_run_of_a_pin_changes_nothing(asked: dict[str, Document], dfedge: Any, verb: str) -> None:
    assert dfedge(verb, "gateway", "--dry-run").out == f"would have {verb}ned gateway:2.4.1\n"
    assert verb not in asked
    assert "[not_found]" in dfedge(verb, "nothing", "--dry-run").err


@pytest.mark.parametrize("line", ["status", "peers", "where a", "why"])
def test_what_only_a_running_agent_knows_says_that_none_runs(dfedge: Any, line: str) -> None:
    ran = dfedge(*line.split())
    assert (ran.code, ran.out) == (1, "")
    assert "no agent answers" in ran.err
    assert ran.err.endswith("[agent_down]\n  try: dfedge agent\n")


@pytest.mark.parametrize("line", ["ls", "peers"])
def test_an_empty_table_says_what_to_do_next(agent: StartAgent, dfedge: Any, line: str) -> None:
    async def nothing(params: Document, call: Call) -> Document:
        return {"images": [], "peers": []}

    agent({"ls": nothing, "peers": nothing})
    ran = dfedge(line)
    assert ran.out == ""
    assert "dfedge " in ran.err


@pytest.mark.parametrize(("line", "network"), [("ls", False), ("gc", False), ("verify", False), ("get a", True)])
def test_without_an_agent_the_command_is_the_node(
    dfedge: Any, monkeypatch: pytest.MonkeyPatch, line: str, network: bool
) -> None:
    seen: list[Any] = []

    async def run_agent(config: Any, *, network: bool, on_ready: Callable[[], None], stop: Any) -> None:
        import anyio

        async def answer(params: Document, call: Call) -> Document:
            return {"images": [], "checked": 0}

        async with anyio.create_task_group() as group:
            verbs = dict.fromkeys(("ls", "gc", "verify", "get"), answer)
            await group.start(lambda *, task_status: serve(config.runtime_dir, verbs, task_status=task_status))
            seen.append(network)
            on_ready()
            await stop.wait()
            seen.append("stopped")
            group.cancel_scope.cancel()

    monkeypatch.setattr(embedded, "run_agent", run_agent)
    ran = dfedge(*line.split())
    assert ran.code == 0, ran.err
    assert seen == [network, "stopped"]


def test_a_node_that_can_not_start_says_why(dfedge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_agent(config: Any, **_: Any) -> None:
        raise ExceptionGroup(
            "tasks", [NotFound(f"{config.state_dir}: this node has not joined a fleet", "dfedge join DIR")]
        )

    monkeypatch.setattr(embedded, "run_agent", run_agent)
    ran = dfedge("ls")
    assert ran.code == 1
    assert ran.err.endswith("this node has not joined a fleet [not_found]\n  try: dfedge join DIR\n")


def test_settings_are_shown_with_their_source(dfedge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dfedge.toml").write_text('[store]\nquota = "10 GiB"\n')
    monkeypatch.setenv("DFEDGE_NODE_LISTEN", ":7412")
    settings = dfedge("config", "show", "--json").document["settings"]
    assert settings["store.quota"] == {"value": 10 * 2**30, "source": f"{tmp_path}/dfedge.toml:2"}
    assert settings["node.listen"] == {"value": ":7412", "source": "DFEDGE_NODE_LISTEN"}
    assert settings["state_dir"] == {"value": str(tmp_path / "state"), "source": "DFEDGE_STATE_DIR"}
    rows = [line.split()[:3] for line in dfedge("config", "show").out.splitlines()]
    assert ["node.listen", "*:7412", "DFEDGE_NODE_LISTEN"] in rows


def test_all_mistakes_in_settings_are_told_at_once_and_end_with_2(dfedge: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text("[store]\nquotaa = 1\n[throttle]\nmax_up = 1\n")
    ran = dfedge("config", "check", file)
    assert ran.code == 2
    assert f"{file}:2: store.quotaa is not a setting" in ran.err
    assert f"{file}:4: throttle.max_up" in ran.err
    assert dfedge("ls", "--config", file).code == 2
    assert dfedge("agent", "--config", file).code == 2
    file.write_text("")
    assert dfedge("config", "check", file).code == 0
    file.write_text('[store]\nquota = "900000 TiB"\n')
    ran = dfedge("config", "check", file)
    assert (ran.code, f"warning: store.quota is 900000.0 TiB ({file}:2), the disk of" in ran.err) == (0, True)
    assert dfedge("config", "check", file, "--json").document["warnings"]


def test_a_fleet_is_made_enrolled_joined_and_revoked_from_the_command_line(
    dfedge: Any, agent: StartAgent, tmp_path: Path, state_dir: Path
) -> None:
    made = dfedge("fleet", "init", "--json").document
    assert made["folder"] == str(tmp_path / "fleet")
    node = dfedge("fleet", "enroll", "kiosk-07", "--label", "site=hall-2", "--out", tmp_path / "k7", "--json").document
    assert (node["name"], node["labels"], node["serial"]) == ("kiosk-07", {"site": "hall-2"}, 1)
    assert "would have joined" in dfedge("join", tmp_path / "k7", "--dry-run").out
    assert not (state_dir / "node").exists()
    joined = dfedge("join", tmp_path / "k7", "--json").document
    assert (joined["id"], joined["fleet"], joined["renewed"]) == (node["id"], made["fleet"], False)
    (row,) = dfedge("fleet", "list", "--json").document["nodes"]
    assert (row["name"], row["revoked"]) == ("kiosk-07", False)

    ran = dfedge("fleet", "revoke", "kiosk-07")
    assert (ran.code, "no agent runs here" in ran.err) == (0, True)
    handed: list[Document] = []

    async def revoke(params: Document, call: Call) -> Document:
        handed.append(params)
        return {"accepted": True, "told": 1}

    agent({"revoke": revoke})
    document = dfedge("fleet", "revoke", "kiosk-07", "--json").document
    assert (document["already"], document["handed_over"]) == (True, True)
    assert handed[0]["revocation"]


def test_a_key_made_on_its_node_never_leaves_it(dfedge: Any, tmp_path: Path, state_dir: Path) -> None:
    dfedge("fleet", "init")
    made = dfedge("join", "--make-key", "--json").document
    assert made["public"] == str(state_dir / "node/node_key.pub")
    ran = dfedge("fleet", "enroll", "kiosk-07", "--key", made["public"], "--out", tmp_path / "k7")
    assert (ran.code, (tmp_path / "k7/node_key").exists()) == (0, False)
    assert dfedge("join", tmp_path / "k7", "--json").document["id"] == made["id"]


def test_doctor_names_what_is_wrong_and_the_fix(dfedge: Any, tmp_path: Path, state_dir: Path) -> None:
    ran = dfedge("doctor", "--json")
    assert ran.code == 1
    checks = {check["check"]: check for check in ran.document["checks"]}
    assert (checks["state"]["level"], checks["state"]["fix"]) == ("fail", "dfedge join DIR")
    assert checks["fleet"]["level"] == "fail"
    assert checks["agent"]["level"] == "warn"
    (tmp_path / "dfedge.toml").write_text("[x]\n")
    assert "x is not a section" in dfedge("doctor").out


def test_doctor_is_content_with_a_node_that_has_joined(
    dfedge: Any, asked: dict[str, Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DFEDGE_NODE_LISTEN", f"127.0.0.1:{sock.getsockname()[1]}")
    monkeypatch.setenv("DFEDGE_STORE_KEEP_FREE", "1")
    dfedge("fleet", "init")
    dfedge("fleet", "enroll", "kiosk-07", "--out", tmp_path / "k7", "--days", "10")
    dfedge("join", tmp_path / "k7")
    ran = dfedge("doctor", "--json")
    checks = {check["check"]: check for check in ran.document["checks"]}
    assert ran.code == 0, ran.out
    assert checks["fleet"]["level"] == "ok"
    assert (checks["certificate"]["level"], "enroll kiosk-07" in checks["certificate"]["fix"]) == ("warn", True)
