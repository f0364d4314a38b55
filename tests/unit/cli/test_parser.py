"""The words of a command line: what is taken, and how a wrong one is answered."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfedge.cli.commands import COMMANDS
from dfedge.cli.parser import Parser, build_parser, main_help, parse

ALL = [
    *COMMANDS,
    "fleet init",
    "fleet enroll",
    "fleet list",
    "fleet revoke",
    "fleet deploy",
    "fleet renew",
    "service install",
    "service update",
    "service status",
    "service uninstall",
    "config show",
    "config check",
]


def help_of(command: str) -> str:
    parser: Any = build_parser(command.split(maxsplit=1)[0])
    for word in command.split():
        parser = next(action for action in parser._actions if action.choices).choices[word]
    assert isinstance(parser, Parser)
    return parser.format_help()


@pytest.mark.parametrize("command", ALL)
def test_help_starts_with_an_example_that_works_and_fits_a_screen(command: str) -> None:
    lines = help_of(command).splitlines()
    assert lines[0].startswith("example: dfedge ")
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 110
    parse(shlex.split(lines[0].removeprefix("example: dfedge ")))


def test_the_overview_names_every_command_and_fits_a_screen() -> None:
    lines = main_help().splitlines()
    assert lines[0].startswith("example: dfedge ")
    assert len(lines) <= 32
    for name in COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)


def test_the_whole_grammar_is_the_sum_of_its_commands() -> None:
    args = build_parser().parse_args(["fleet", "enroll", "kiosk-07", "--out", "x", "--label", "site=hall 2"])
    assert (args.command, args.subcommand, args.label) == ("fleet", "enroll", [("site", "hall 2")])


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "--state-dir", "/s", "-v", "get", "a:1"],
        ["get", "a:1", "--json", "--state-dir", "/s", "-v"],
        ["--json", "get", "--state-dir", "/s", "a:1", "-v"],
    ],
)
def test_global_flags_count_before_and_after_the_command(words: list[str]) -> None:
    args = parse(words)
    assert (args.json, args.state_dir, args.verbose, args.quiet, args.config) == (True, Path("/s"), 1, False, None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gett x", 'gett: no such command; did you mean "get"? [usage]'),
        ("frobnicate", "frobnicate: no such command [usage]"),
        ("get", "get: the following arguments are required: REF [usage]"),
        ("get a --jsn", 'get: --jsn is not known here; did you mean "--json"? [usage]'),
        ("get a --max-rate -3MB/s", '"-3MB/s" is not a rate; write a size per second'),
        ("throttle pause -5m", 'throttle pause: argument TIME: "-5m" is not a duration'),
        ("get a b", "get: b is not known here [usage]"),
        ("get A", 'get: argument REF: "A" is not an image name'),
        ("get sha256:12", 'get: argument REF: "sha256:12" needs 8 to 64 hex digits'),
        ("get a --timeout soon", '"soon" is not a duration'),
        ("get a --state-dir", "expected one argument"),
        ("--state-dir", "expected one argument"),
        ("fleet", "fleet: the following arguments are required: command"),
        ("fleet enrol x --out y", "invalid choice: 'enrol'"),
        ("fleet enroll x", "fleet enroll: the following arguments are required: --out"),
        ("fleet enroll x --out y --label z", '"z" is not a label'),
        ("publish f --name N --version 1", '"N" is not an image name'),
        ("publish f --name n --version /", '"/" is not a version'),
        ("get a -o -", "get: -o - is not supported"),
        ("join", "join: give an enrolment folder"),
    ],
)
def test_a_wrong_word_ends_with_2_and_one_line_that_helps(dfedge: Callable[..., Any], line: str, said: str) -> None:
    ran = dfedge(*line.split())
    first, second = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, "")
    assert first.startswith("dfedge: ")
    assert said in first
    assert first.endswith("[usage]")
    assert second.startswith("  try: dfedge ")


def test_wrong_usage_is_json_where_json_was_asked_for(dfedge: Callable[..., Any]) -> None:
    ran = dfedge("get", "--json")
    assert ran.code == 2
    assert ran.document["code"] == "usage"
    assert not ran.document["ok"]
    assert ran.document["v"] == 1


def test_help_and_version_are_answers(dfedge: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert dfedge("--help").code == 0
    assert dfedge().code == 2
    for words in (["get", "--help"], ["--json", "--version"]):
        with pytest.raises(SystemExit) as left:
            dfedge(*words)
        assert left.value.code == 0


def test_a_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = ["asyncssh", "anyio", "asyncio", "rich", "zeroconf", "psutil", "sqlite3", "cryptography"]
    program = (
        "import sys; from dfedge.cli.parser import build_parser; build_parser();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_of_a_dead_agent_needs_no_heavy_library_either(tmp_path: Path) -> None:
    program = (
        "import sys; from dfedge.cli.app import main; main(['status']);"
        "print([m for m in ('asyncssh','anyio','asyncio','rich') if m in sys.modules])"
    )
    environ = {**os.environ, "DFEDGE_STATE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "[]"


def test_a_python_that_hands_colour_on_to_each_command_is_served_too() -> None:
    """As argparse of Python 3.14 does, which every command failed on."""
    parser = Parser(prog="dfedge", color=False)
    commands = parser.add_subparsers(parser_class=Parser)
    assert isinstance(commands.add_parser("get", prog="dfedge get", color=False), Parser)
