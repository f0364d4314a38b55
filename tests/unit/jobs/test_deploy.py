"""What an operator sees when hosts are made nodes: what is done, what is left as it is, and what stands against it."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from fakehost import FakeHost, Network, Ran, a_file

from dfedge.core.errors import Corrupt, NoSpace, NotFound, Refused
from dfedge.jobs import bringup, farend, issue
from dfedge.jobs.board import Board
from dfedge.jobs.deploy import deploy
from dfedge.jobs.deployment import Order, Outcome, Step
from dfedge.jobs.destination import Destination
from dfedge.jobs.enroll import enroll, list_nodes
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.payload import Payload
from dfedge.jobs.probe import Facts
from dfedge.jobs.reach import Reach, recall, remember
from dfedge.jobs.renew import carry, choose
from dfedge.jobs.revoke import revoke
from dfedge.trust.clock import wall_time

pytestmark = pytest.mark.anyio


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    init_fleet(tmp_path / "fleet", "Kiosks")
    return tmp_path / "fleet"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "host")


async def not_here(node: str) -> bool | None:
    return None


class Run:
    """A deployment, and the steps that were told."""

    def __init__(self, fleet: Path, **settings: Any) -> None:
        payload = Payload.of(a_file("native/x86_64.tar.xz", "native/aarch64.tar.xz"), "dfedge.pyz")
        self.order = Order(fleet, **{"payload": payload, **settings})
        self.steps: list[Step] = []

    def did(self, step: str) -> list[str]:
        return [told.did for told in self.steps if told.step == step]

    async def __call__(self, network: Network, *hosts: str, become: str = "", parallel: int = 8) -> list[Outcome]:
        reaches = [Reach(Destination.parse(host), become) for host in hosts]
        return await deploy(
            self.order, reaches, network.connect, parallel=parallel, tell=self.steps.append, seen=not_here
        )


async def one(fleet: Path, host: FakeHost, to: str = "gw-1", become: str = "", **settings: Any) -> tuple[Outcome, Run]:
    run = Run(fleet, **settings)
    [outcome] = await run(Network(**{Destination.parse(to).host: host}), to, become=become)
    return outcome, run


async def test_a_host_becomes_a_node_and_its_private_key_stays_there(fleet: Path, host: FakeHost) -> None:
    outcome, run = await one(fleet, host, labels={"site": "hall-2"})
    assert (outcome.error, outcome.state, outcome.name) == (None, "healthy", "gw-1")
    assert [step.step for step in run.steps] == ["check", "file", "key", "join", "service", "health"]
    assert (host.state / "node" / "node_key").exists()
    assert not (fleet / "nodes" / "gw-1" / "node_key").exists()
    [node] = list_nodes(fleet)
    assert (node.id, node.labels) == (outcome.id, (("site", "hall-2"),))


async def test_the_second_time_does_nothing_that_is_done(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host, labels={"site": "hall-2"})
    host.said.clear()
    outcome, run = await one(fleet, host)
    assert outcome.state == "healthy"
    assert not {"receive", "join", "service"} & set(host.said)
    assert [run.did(step) for step in ("file", "key", "join", "service")] == [["kept"]] * 4
    assert list_nodes(fleet)[0].serial == 1


@pytest.mark.parametrize("at", ["receive", "dfedge", "join"])
async def test_what_broke_off_is_gone_on_with(fleet: Path, host: FakeHost, at: str) -> None:
    host.breaks_at = at
    outcome, _ = await one(fleet, host)
    assert outcome.state == "failed" and str(outcome.error) == "the connection was lost"
    host.breaks_at = ""
    outcome, _ = await one(fleet, host)
    assert (outcome.error, outcome.state) == (None, "healthy")
    assert len(list_nodes(fleet)) == 1


async def test_another_label_is_a_new_enrolment_that_keeps_the_old_labels(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host, labels={"site": "hall-2"})
    outcome, _ = await one(fleet, host, labels={"line": "4"})
    assert outcome.error is None
    [node] = list_nodes(fleet)
    assert (node.serial, node.labels) == (2, (("line", "4"), ("site", "hall-2")))


async def test_certificates_that_end_soon_are_renewed_by_the_way(
    fleet: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one(fleet, host, days=400)
    for later, did, serial in ((369, "kept", 1), (371, "done", 2)):
        now = wall_time() + later * 86400
        monkeypatch.setattr(issue, "wall_time", lambda now=now: now)
        assert (await one(fleet, host))[1].did("join") == [did]
        assert list_nodes(fleet)[0].serial == serial


async def test_what_the_operator_issued_since_is_brought_there(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host)
    enroll(fleet, "gw-1", {}, fleet.parent / "out", fleet / "nodes" / "gw-1" / "node_key.pub", 400)
    assert (await one(fleet, host))[1].did("join") == ["done"]
    assert (await one(fleet, host))[1].did("join") == ["kept"]


async def test_hosts_that_fail_stop_no_other_and_only_so_many_go_at_once(fleet: Path, tmp_path: Path) -> None:
    hosts = {f"gw-{n}": FakeHost(tmp_path / f"gw-{n}") for n in range(6)}
    hosts["gw-2"].python = "3.9.2 64 glibc"
    network = Network(**hosts)
    outcomes = await Run(fleet)(network, *hosts, "gone", parallel=3)
    assert [outcome.state for outcome in outcomes] == ["healthy"] * 2 + ["failed"] + ["healthy"] * 3 + ["failed"]
    assert network.most == 3
    assert "nobody answers" in str(outcomes[-1].error)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"python": ""}, "has no python3, dfedge needs 3.11 or newer"),
        ({"python": "3.9.2 64 glibc"}, "python3 there is 3.9.2, dfedge needs 3.11"),
        ({"python": "Illegal instruction"}, "python3 there does not work: Illegal instruction"),
        ({"machine": "riscv64"}, "is a riscv64, the file is for aarch64, x86_64"),
        ({"machine": "aarch64", "python": "3.11.2 32 glibc"}, "is a armv7l, the file is for"),
        ({"python": "3.11.2 64 other"}, "its C library is not glibc"),
    ],
)
async def test_a_host_that_will_not_do_is_told_before_anything_is_copied(
    fleet: Path, tmp_path: Path, facts: dict[str, str], said: str
) -> None:
    host = FakeHost(tmp_path / "host", **facts)  # type: ignore[arg-type]
    outcome, _ = await one(fleet, host)
    assert said in str(outcome.error)
    assert str(outcome.error).startswith("gw-1: ")
    assert host.pyz is None


@pytest.mark.parametrize(
    ("sudo", "said"),
    [
        (Ran(1, err=b"sudo: a password is required\n"), "asks for a password, and there is nobody to ask"),
        (Ran(127, err=b"sh: sudo: not found\n"), "sudo is not there"),
        (Ran(1, err=b"pi is not in the sudoers file.\x1b[2J\n"), "refuses: pi is not in the sudoers file.?[2J"),
    ],
)
async def test_who_may_not_become_root_is_told_how_to(fleet: Path, host: FakeHost, sudo: Ran, said: str) -> None:
    host.sudo = sudo
    outcome, _ = await one(fleet, host, "pi@gw-1", become="sudo")
    assert said in str(outcome.error)
    assert outcome.error and outcome.error.hint == "ssh pi@gw-1 -t sudo true"


async def test_two_hosts_with_one_key_are_a_copied_card(fleet: Path, host: FakeHost) -> None:
    outcomes = await Run(fleet)(Network(one=host, two=host), "one", "two", parallel=1)
    assert outcomes[0].state == "healthy"
    assert "has the same node key as one" in str(outcomes[1].error)


async def test_a_name_that_another_node_has_is_refused(fleet: Path, tmp_path: Path) -> None:
    hosts = [FakeHost(tmp_path / name) for name in "ab"]
    network = Network(**{"192.0.2.1": hosts[0], "192.0.2.2": hosts[1]})
    run = Run(fleet)
    outcomes = await run(network, "192.0.2.1", "192.0.2.2", parallel=1)
    assert outcomes[0].name == "raspberrypi"
    assert "raspberrypi is already enrolled with another key" in str(outcomes[1].error)
    [looked] = await Run(fleet, payload=run.order.payload, dry_run=True)(network, "192.0.2.2")
    assert looked.error is not None and looked.error.hint == "dfedge fleet deploy NAME=192.0.2.2"
    [outcome] = await run(network, "kiosk-02=192.0.2.2")
    assert (outcome.error, outcome.name) == (None, "kiosk-02")
    [again] = await run(network, "192.0.2.2")  # the key says who it is
    assert again.name == "kiosk-02"


async def test_a_revoked_node_is_not_taken_back_under_its_key(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host)
    revoke(fleet, "gw-1")
    outcome, _ = await one(fleet, host)
    assert "its node key is revoked" in str(outcome.error)


async def test_a_file_that_installs_no_service_says_what_is_left_to_do(fleet: Path, host: FakeHost) -> None:
    host.service = False
    outcome, run = await one(fleet, host)
    assert (outcome.error, outcome.state, outcome.note) == (None, "joined", "not started")
    assert run.steps[-1].text.endswith("start it there: python3 -I /usr/local/lib/dfedge/deployed.pyz agent")


async def test_a_node_that_does_not_get_well_fails_with_its_own_reason(
    fleet: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringup, "HEALTH_TIMEOUT", 0.05)
    monkeypatch.setattr(bringup, "POLL", 0.01)
    host.degraded = "the disk is read-only"
    outcome, _ = await one(fleet, host)
    assert outcome.state == "failed"
    assert "its agent says: the disk is read-only" in str(outcome.error)


async def test_a_dry_run_says_what_is_missing_and_changes_nothing(fleet: Path, host: FakeHost) -> None:
    outcome, _ = await one(fleet, host, dry_run=True)
    assert (outcome.state, outcome.note) == ("would", "copy, enrol, join, install")
    assert host.pyz is None and not host.state.exists() and not list_nodes(fleet)
    await one(fleet, host)
    host.runs = None
    outcome, run = await one(fleet, host, dry_run=True)
    assert outcome.note == "install the service"
    assert run.did("join") == ["kept"]


async def test_renewal_is_for_that_very_node_and_copies_nothing(fleet: Path, host: FakeHost, tmp_path: Path) -> None:
    await one(fleet, host)
    [(node, reach)] = choose(fleet, ["gw-1"], None)
    assert reach and (reach.destination.name, str(reach.destination)) == ("gw-1", "gw-1")
    host.said.clear()
    renewing = Run(fleet, payload=None, renew=True)
    outcomes = await deploy(
        renewing.order,
        [reach],
        Network(**{"gw-1": host}).connect,
        parallel=1,
        tell=renewing.steps.append,
        seen=not_here,
    )
    assert (outcomes[0].error, list_nodes(fleet)[0].serial) == (None, node.serial + 1)
    assert not {"receive", "service"} & set(host.said) and "restart" in host.said

    stranger = FakeHost(tmp_path / "other", pyz=b"x")
    [outcome] = await deploy(
        renewing.order, [reach], Network(**{"gw-1": stranger}).connect, parallel=1, tell=print, seen=not_here
    )
    assert "is a node that this fleet did not enrol, not gw-1" in str(outcome.error)


async def test_an_agent_that_runs_on_its_old_certificates_is_told(fleet: Path, host: FakeHost) -> None:
    host.days = 5
    outcome, _ = await one(fleet, host)
    assert outcome.note == "old certificates until it is started anew"


async def test_a_service_is_started_anew_with_its_new_certificates(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host)
    host.systemd, host.days = True, 5
    host.said.clear()
    outcome, _ = await one(fleet, host, labels={"site": "hall-2"})
    assert (outcome.state, outcome.note) == ("healthy", "")
    assert host.said.index("join") < host.said.index("service") < host.said.index("restart")


async def test_a_file_that_the_host_refused_is_tried_again_and_never_passes_for_the_one_that_runs(
    fleet: Path, host: FakeHost
) -> None:
    await one(fleet, host)
    other = Payload.of(a_file("native/x86_64.tar.xz"), "dfedge.pyz")  # of the same version number
    host.refuses = other.data
    for _ in range(2):
        outcome, _ = await one(fleet, host, "pi@gw-1", become="sudo", payload=other)
        assert outcome.state == "failed" and "it does not work on this host" in str(outcome.error)
        assert outcome.error and outcome.error.hint == "ssh pi@gw-1 sudo journalctl -eu dfedge"
    host.refuses = b""
    outcome, run = await one(fleet, host, payload=other, dry_run=True)
    assert outcome.note == "install the service"
    outcome, run = await one(fleet, host, payload=other)
    assert (outcome.state, run.did("file"), run.did("service")) == ("healthy", ["kept"], ["done"])
    assert other.sha256.startswith(host.installed)


async def test_a_user_without_a_systemd_of_its_own_is_told_at_once(fleet: Path, host: FakeHost) -> None:
    host.uid, host.starts = 1000, False
    for did in ("installed", "is there, but systemd does not start it"):
        outcome, run = await one(fleet, host)
        assert (outcome.error, outcome.state, outcome.note) == (None, "joined", "not started")
        assert run.steps[-1].text == f"{did}; this user's systemd does not run here"


async def test_an_agent_that_ends_with_the_login_is_told(fleet: Path, host: FakeHost) -> None:
    host.uid = 1000
    outcome, run = await one(fleet, host)
    assert (outcome.state, outcome.note) == ("healthy", "ends with the login")
    assert run.steps[-1].text.endswith("sudo loginctl enable-linger pi")
    host.lingers = True
    assert (await one(fleet, host))[0].note == ""


async def test_a_renewal_leaves_the_service_at_its_version(fleet: Path, host: FakeHost) -> None:
    await one(fleet, host)
    host.systemd, host.installed = True, "0123456789abcdef"  # by `service update`
    host.said.clear()
    outcome, _ = await one(fleet, host, payload=None, renew=True)
    assert (outcome.error, outcome.state) == (None, "healthy")
    assert "service" not in host.said and "restart" in host.said


def test_nodes_that_are_to_be_renewed(fleet: Path, tmp_path: Path) -> None:
    for name, days in (("soon", 10), ("late", 400), ("gone", 5)):
        enroll(fleet, name, {"site": "x"}, tmp_path / name, days=days)
    revoke(fleet, "gone")
    assert [node.name for node, _ in choose(fleet, [], 30 * 86400.0)] == ["soon"]
    with pytest.raises(NotFound, match="no such node"):
        choose(fleet, ["nobody"], None)
    with pytest.raises(Refused, match="is revoked"):
        choose(fleet, ["gone"], None)
    [(node, place)] = carry(fleet, choose(fleet, ["soon"], None), tmp_path / "out", 400)
    assert (node.serial, node.labels) == (2, (("site", "x"),))
    assert (place / "node.record").exists() and not (place / "node_key").exists()


def test_where_a_node_is_reached_is_remembered(fleet: Path, tmp_path: Path) -> None:
    enroll(fleet, "gw-1", {}, tmp_path / "out")
    assert recall(fleet, "gw-1") is None
    reach = Reach(Destination.parse("pi@[fe80::3%eth0]:2222"), "sudo")
    remember(fleet, "gw-1", reach)
    assert recall(fleet, "gw-1") == reach
    for wrong in ("{", "[]", json.dumps({"destination": "a b", "become": ""}),
                  json.dumps({"destination": "a", "become": "rm -r"})):  # fmt: skip
        (fleet / "nodes" / "gw-1" / "ssh").write_text(wrong)
        with pytest.raises(Corrupt, match="does not say where the node is"):
            recall(fleet, "gw-1")


@pytest.mark.parametrize(
    ("code", "out", "hint"),
    [
        (farend.NO_SPACE, "", "ssh pi@gw-1 sudo df -h"),
        (1, json.dumps({"error": "/usr/local/lib/dfedge: no space left on device", "code": "no_space"}), ""),
    ],
)
async def test_a_full_disk_over_there_is_told_as_one(code: int, out: str, hint: str) -> None:
    said = "/usr/local/lib/dfedge: no space left on device"

    class Full:
        async def run(self, command: str, data: bytes = b"", timeout: float = 0) -> Ran:
            return Ran(code, out.encode(), said.encode())

    board = Board(cast("Any", Full()), Destination.parse("pi@gw-1"), "sudo")
    board._facts = Facts(0, "root", "/root", "gw-1", "x86_64", (3, 11, 2))
    step = board.dfedge("service", "install") if code == 1 else board.put(Payload.of(a_file(), "dfedge.pyz"))
    with pytest.raises(NoSpace, match=said) as caught:
        await step
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "host", "user", "port", "name"),
    [
        ("gw-1", "gw-1", "", None, ""),
        ("pi@gw-1.example:2222", "gw-1.example", "pi", 2222, ""),
        ("kiosk-07=192.0.2.7", "192.0.2.7", "", None, "kiosk-07"),
        ("root@[fe80::3%eth0]:22", "fe80::3%eth0", "root", 22, ""),
        ("fe80::3%eth0", "fe80::3%eth0", "", None, ""),
    ],
)
def test_where_a_host_is(text: str, host: str, user: str, port: int | None, name: str) -> None:
    found = Destination.parse(text)
    assert found == Destination(host, user, port, name)
    assert Destination.parse(str(found)) == Destination(host, user, port)


@pytest.mark.parametrize(
    "text",
    ["", "@gw", "gw:", "gw:0", "gw:99999", "gw:x", "-oProxyCommand=x", "a b", "[gw]x", "[::1", "gw;rm", "x/y",
     "Big=gw", "[::1]:", "=gw@", "-l@gw", "a" * 600, "gw\n"],
)  # fmt: skip
def test_what_is_no_host_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"write one as in|is not a node name"):
        Destination.parse(text)
