"""Settings: where each value comes from, and that a mistake is told with its place."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dfedge.core.errors import UsageError
from dfedge.node import config
from dfedge.node.config import SETTINGS, find, load, parse_listen
from dfedge.node.configfile import line_of

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        file = tmp_path / "dfedge.toml"
        file.write_text(text)
        return file

    return write_file


def complaint(file: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(config_file=file, environ=environ or {})
    return str(caught.value)


def test_every_command_works_with_no_settings_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CONFIG_FILE", tmp_path / "none.toml")
    told = load(environ={})
    assert told.node.listen == ("", 7411)
    assert told.discovery.mdns
    assert told.store.quota is None
    assert told.store.keep_free == 256 * 1024 * 1024
    assert set(told.sources.values()) == {"default"}


def test_a_file_says_it_and_the_source_is_its_line(write: Write) -> None:
    file = write('# mine\n[store]\nquota = "10 GiB"\n\n[throttle]\nmax_up = "20 Mbit/s"\n')
    told = load(config_file=file, environ={})
    assert told.store.quota == 10 * 1024**3
    assert told.sources["store.quota"] == f"{file}:3"
    assert told.throttle.orders.policy.host.up == 2_500_000
    assert told.sources["throttle.max_up"] == f"{file}:6"


def test_flag_beats_variable_beats_later_file_beats_earlier_file(write: Write, tmp_path: Path) -> None:
    file = write('[store]\nquota = "1 GiB"\nkeep_free = "1 MiB"\n[hooks]\ntimeout = "5m"\n[node]\nlisten = ":1"\n')
    folder = tmp_path / "dfedge.toml.d"
    folder.mkdir()
    (folder / "20.toml").write_text('[store]\nquota = "3 GiB"\nkeep_free = "3 MiB"\n[node]\nlisten = ":3"\n')
    (folder / "10.toml").write_text('[store]\nquota = "2 GiB"\n')
    (folder / "not-toml.txt").write_text("garbage = = =")
    environ = {"DFEDGE_STORE_KEEP_FREE": "4 MiB", "DFEDGE_NODE_LISTEN": ":4"}
    told = load(config_file=file, environ=environ, flags={"node.listen": ":5"})
    assert told.hooks.timeout_s == 300
    assert (told.store.quota, told.sources["store.quota"]) == (3 * 1024**3, f"{folder / '20.toml'}:2")
    assert (told.store.keep_free, told.sources["store.keep_free"]) == (4 * 1024**2, "DFEDGE_STORE_KEEP_FREE")
    assert (told.node.listen, told.sources["node.listen"]) == (("", 5), "flag")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[store]\nquotaa = 1\n", 2, ["store.quotaa is not a setting", 'did you mean "quota"?']),
        ("[stor]\nquota = 1\n", 1, ["stor is not a section", 'did you mean "store"?']),
        ('\n[throttle]\n\nmax_up = "10MBps"\n', 4, ["throttle.max_up", '"10MBps" is not a rate', "10 MB/s"]),
        ('[store]\nquota = "ten"\n', 2, ["store.quota", '"ten" is not a size', "10 GiB"]),
        ("[store]\nquota = 1.5\n", 2, ["store.quota", "1.5"]),
        ("[store]\nquota = -1\n", 2, ["store.quota", "-1"]),
        ("[throttle]\nmax_up = 1000\n", 2, ["throttle.max_up", "not a rate"]),
        ('[throttle]\nlan_max_up = "0 Mbit/s"\n', 2, ["throttle.lan_max_up", "0 lets nothing pass"]),
        ('[throttle]\nlan_prefixes = ["10.0.0.0/33"]\n', 2, ["throttle.lan_prefixes", "is not a network"]),
        ('[discovery]\nmdns = "yes"\n', 2, ["discovery.mdns", "not true or false"]),
        ("[discovery]\nmdns = 1\n", 2, ["discovery.mdns", "1 is not true or false"]),
        ('[discovery]\npeers = "a:1"\n', 2, ["discovery.peers", "not a list"]),
        ('[discovery]\npeers = [\n  "a:70000",\n]\n', 2, ["discovery.peers", "a:70000"]),
        ("[discovery]\npeers = [7411]\n", 2, ["discovery.peers", "7411 is not a text"]),
        ('[node]\nlisten = "x:y:z"\n', 2, ["node.listen", "not an address"]),
        ('[node]\nname = "Kiosk 7"\n', 2, ["node.name", "not a node name"]),
        ('[hooks]\ntimeout = "10 parsecs"\n', 2, ["hooks.timeout", "not a duration"]),
        ('[hooks]\ninstall = "reboot"\n', 2, ["hooks.install", "not a list"]),
        ('[store]\nscrub = "0s"\n', 2, ["store.scrub", "not from 1 s to 10 years", '"30d", or "off"']),
        ("[store]\nscrub = true\n", 2, ["store.scrub", "not a duration"]),
        ('[store]\nscrub = "monthly"\n', 2, ["store.scrub", '"monthly" is not a duration']),
        ("[trust]\ndays = 0\n", 2, ["trust.days", "1 to 36,500"]),
        ("[trust]\ndays = true\n", 2, ["trust.days", "true"]),
        ("store = 3\n", 1, ["store is a section"]),
        ('store = { quotaa = "1" }\n', 1, ["store.quotaa is not a setting"]),
        ('store.quotaa = "1"\n', 1, ["store.quotaa is not a setting"]),
        ("[store]\nquota = \n", 2, ["not TOML"]),
        ("[store]\nquota = 1\nquota = 2\n", 3, ["not TOML"]),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_right(
    write: Write, text: str, line: int, words: list[str]
) -> None:
    file = write(text)
    said = complaint(file)
    assert said.startswith(f"{file}:{line}: ")
    for word in words:
        assert word in said


def test_all_mistakes_of_a_file_are_found_at_once(write: Write) -> None:
    _, errors = find(write('[store]\nquotaa = 1\nquota = "x"\n[nod]\na = 1\n'), {"DFEDGE_THROTTLE_MAX_UP": "fast"})
    assert [str(error).split(" ")[1] for error in errors] == ["store.quotaa", "store.quota", "nod", '"fast"']


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    assert "no such settings file" in complaint(tmp_path / "gone.toml")


def test_a_pipe_in_the_place_of_the_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dfedge.toml")
    assert complaint(tmp_path / "dfedge.toml") == (
        f"{tmp_path}/dfedge.toml: is not a regular file; write the settings into one"
    )


def test_the_hint_checks_the_file_that_is_wrong(write: Write) -> None:
    with pytest.raises(UsageError) as caught:
        load(config_file=(file := write("[throttle]\nmax_up = 0\n")), environ={})
    assert caught.value.hint == f"dfedge config check {file}"


def test_bytes_that_are_no_text_are_an_error_and_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "dfedge.toml"
    file.write_bytes(b"\xff\xfe[store]")
    assert complaint(file).startswith(f"{file}:1: not TOML")
    file.write_text("a = " + "[" * 5000)
    assert complaint(file).startswith(f"{file}")


def test_a_variable_that_names_no_setting_is_told_with_the_nearest(write: Write) -> None:
    assert 'did you mean "DFEDGE_STORE_QUOTA"?' in complaint(write(""), {"DFEDGE_STORE_QOUTA": "1 GiB"})
    load(config_file=write(""), environ={"DFEDGE_DEBUG": "1", "DFEDGE_STATE_DIR": "/x", "DFEDGE_FLEET": "/y"})


def test_a_wrong_variable_is_named(write: Write) -> None:
    assert complaint(write(""), {"DFEDGE_STORE_QUOTA": "much"}).startswith("DFEDGE_STORE_QUOTA: ")


def test_peers_by_variable_are_a_list(write: Write) -> None:
    told = load(config_file=write(""), environ={"DFEDGE_DISCOVERY_PEERS": "192.0.2.7, [fe80::3%eth0]:7412,kiosk:1"})
    assert told.discovery.peers == ("192.0.2.7:7411", "[fe80::3%eth0]:7412", "kiosk:1")


def test_two_nodes_on_one_host_have_sockets_of_their_own(tmp_path: Path) -> None:
    one = load(state_dir=tmp_path / "one", environ={})
    two = load(environ={"DFEDGE_STATE_DIR": str(tmp_path / "two")})
    assert (one.runtime_dir, two.runtime_dir) == (tmp_path / "one/run", tmp_path / "two/run")
    assert load(state_dir=tmp_path, environ={"DFEDGE_RUNTIME_DIR": "/r"}).runtime_dir == Path("/r")


def test_folders_are_absolute_wherever_the_agent_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = load(state_dir=Path("here"), fleet_dir=Path("fleet"), environ={"DFEDGE_RUNTIME_DIR": "run"})
    assert (told.state_dir, told.fleet_dir, told.runtime_dir) == (
        tmp_path / "here",
        tmp_path / "fleet",
        tmp_path / "run",
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":7411", ("", 7411)),
        ("8000", ("", 8000)),
        ("0.0.0.0", ("0.0.0.0", 7411)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("[::]:7411", ("::", 7411)),
        ("[fe80::1%eth0]", ("fe80::1%eth0", 7411)),
    ],
)
def test_where_to_listen_is_written_in_the_ways_people_know(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "seconds"), [('"30d"', 30 * 86400.0), ("3600", 3600.0), ('"off"', None), ("false", None)]
)
def test_how_often_the_store_is_read_again_is_a_duration_or_off(write: Write, text: str, seconds: float | None) -> None:
    told = load(config_file=write(f"[store]\nscrub = {text}\n"), environ={})
    assert told.store.scrub == seconds
    assert load(environ={"DFEDGE_STORE_SCRUB": "off"}).store.scrub is None


@pytest.mark.parametrize("text", ["", ":", ":0", ":65536", "fe80::1", "a b", "host:", "[::1", "-1"])
def test_where_to_listen_is_refused_if_it_can_be_read_two_ways(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        parse_listen(text)


def test_every_setting_has_a_meaning_and_its_default_is_of_its_kind() -> None:
    for setting in SETTINGS.values():
        assert setting.doc
        assert setting.variable.startswith("DFEDGE_")


def test_a_line_is_found_behind_comments_and_other_sections() -> None:
    text = '[node]\nname = "a"\n# quota = 1\n["store"]\n"quota" = 1\n[store.more]\nquota = 2\n'
    assert line_of(text, "store.quota") == 5
    assert line_of(text, "store") == 4
    assert line_of(text, "hooks.timeout") == 1


@pytest.mark.parametrize("path", ["/", "hold"])
def test_a_folder_is_no_file_to_hold_or_nothing_would_ever_move(write: Write, path: str) -> None:
    told = complaint(write(f'[throttle]\nhold_file = "{path}"\n'))
    assert "throttle.hold_file is wrong" in told
    assert "/run/app/hold" in told
