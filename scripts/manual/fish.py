"""Completion for fish."""

from collections.abc import Iterator, Sequence
from typing import Final

from manual.command import GLOBALS, Command, Option

_HEAD: Final = """\
# fish completion for dfedge; made from its parsers.
function __dfedge_at
    set -l at
    for word in (commandline -opc)[2..]
        if contains -- (string join ' ' $at $word) {paths}
            set -a at $word
        end
    end
    test (string join ' ' $at) = "$argv"
end
"""


def fish(commands: Sequence[Command]) -> str:
    """The file for fish's folder of completions."""
    paths = " ".join(_quoted(command.name) for command in commands if command.path)
    lines = [line for command in commands for line in _lines(command)]
    everywhere = [_option("complete -c dfedge", option) for option in GLOBALS]
    return _HEAD.format(paths=paths) + "\n".join([*everywhere, *lines]) + "\n"


def _lines(command: Command) -> Iterator[str]:
    head = f"complete -c dfedge -n {_quoted(f'__dfedge_at {command.name}'.rstrip())}"
    for name, summary in command.inner:
        yield f"{head} -f -a {name} -d {_quoted(summary)}"
    for option in command.options:
        yield _option(head, option)


def _option(head: str, option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    value = "" if not option.value else " -rF" if option.takes_path else " -x"
    return f"{head} {flags}{value} -d {_quoted(option.text)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
