"""The man page and the completions know every command and option, and the shells take them."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from manual.bash import bash
from manual.command import GLOBALS, Command, commands
from manual.fish import fish
from manual.page import page
from manual.zsh import zsh

from dfedge.cli.commands import COMMANDS

ALL = commands()
Write = Callable[[Sequence[Command]], str]


def _page(found: Sequence[Command]) -> str:
    return page(found, "2026-01-01")


def _spelt(writer: Write, flag: str) -> str:
    """An option as this writer spells it."""
    if writer is _page:
        return flag.replace("-", "\\-")
    if writer is fish:
        return f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    return flag


def _sections(writer: Write) -> dict[str, str]:
    """The part of what is written that is about one command, by its name."""
    text = writer(ALL)
    found = {}
    for command in ALL:
        name, joined = command.name, "_".join(["_dfedge", *command.path])
        pattern = {
            _page: rf"^\.SS dfedge {re.escape(name)}(?: (?:[A-Z\[]|[a-z]+\|)[^\n]*)?$(.*?)(?=^\.S[SH] )",
            bash: rf'^    "{name}"\) (.*?) ;;$',
            zsh: rf"^{joined}\(\) {{$(.*?)^}}",
            fish: rf"((?:^complete -c dfedge -n '__dfedge_at {name}'.*?$\n?)+)",
        }[writer]
        match = re.search(pattern, text, re.DOTALL | re.MULTILINE)
        found[name] = match[1] if match else ""
    return found


@pytest.mark.parametrize("writer", [_page, bash, zsh, fish])
def test_every_command_and_option_is_named_where_it_belongs(writer: Write) -> None:
    sections = _sections(writer)
    for command in ALL[1:]:
        part = sections[command.name]
        for option in command.options:
            if option.flags != ("-h", "--help"):
                assert all(_spelt(writer, flag) in part for flag in option.flags), (command.name, option)
        for name, _ in command.inner:
            assert name in part
    for option in GLOBALS:
        assert all(_spelt(writer, flag) in writer(ALL) for flag in option.flags)


def test_the_list_is_the_whole_grammar() -> None:
    names = [command.name for command in ALL]
    assert {name.partition(" ")[0] for name in names[1:]} == set(COMMANDS)
    assert {"fleet enroll", "service update", "throttle pause"} <= set(names)
    assert all(command.summary for command in ALL)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["fl"], ["fleet"]),
        (["fleet", "en"], ["enroll"]),
        (["--state-dir", "get", "service", "up"], ["update"]),
        (["fleet", "enroll", "x", "--la"], ["--label"]),
        (["get", "a:1", "--js"], ["--json"]),
        (["fleet", "enroll", "--label", ""], []),
    ],
)
def test_bash_offers_what_fits(tmp_path: Path, typed: list[str], offered: list[str]) -> None:
    file = tmp_path / "dfedge"
    file.write_text(bash(ALL))
    script = f'. {file}; COMP_WORDS=(dfedge "$@"); COMP_CWORD=$#; _dfedge; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", *typed], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered
    assert done.stderr == ""


def test_bash_offers_files_after_an_option_that_takes_one(tmp_path: Path) -> None:
    file = tmp_path / "dfedge"
    file.write_text(bash(ALL))
    script = f'. {file}; COMP_WORDS=(dfedge --config "{tmp_path}/df"); COMP_CWORD=2; _dfedge; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(file)


@pytest.mark.parametrize(("typed", "offered"), [("dfedge fleet en", "enroll"), ("dfedge fleet enroll --la", "--label")])
def test_fish_offers_what_fits(tmp_path: Path, typed: str, offered: str) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish")
    file = tmp_path / "dfedge.fish"
    file.write_text(fish(ALL))
    command = ["fish", "--no-config", "-c", f"source {file}; complete -C '{typed}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [offered]


def test_zsh_and_man_take_it_without_a_complaint(tmp_path: Path) -> None:
    if shutil.which("zsh"):
        (tmp_path / "_dfedge").write_text(zsh(ALL))
        subprocess.run(["zsh", "-n", tmp_path / "_dfedge"], check=True)
    if shutil.which("groff"):
        (tmp_path / "dfedge.1").write_text(_page(ALL))
        command: list[str | Path] = ["groff", "-man", "-ww", "-z", "-Tutf8", tmp_path / "dfedge.1"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
