"""Completion for zsh."""

from collections.abc import Iterator, Sequence
from typing import Final

from manual.command import GLOBALS, Command, Option, Word

_HEAD: Final = "#compdef dfedge\n# zsh completion for dfedge; made from its parsers.\n"
_TAIL: Final = '\nif [[ $funcstack[1] == _dfedge ]]; then _dfedge "$@"; else compdef _dfedge dfedge; fi\n'


def zsh(commands: Sequence[Command]) -> str:
    """The file for a folder of zsh's fpath."""
    return _HEAD + "\n".join(_function(command) for command in commands) + _TAIL


def _function(command: Command) -> str:
    flags = [_option(option) for option in (*GLOBALS, *command.options)]
    specs = [*flags, *(_word(word, place) for place, word in enumerate(command.words, 1))]
    if command.inner:
        inner = " ".join(f"{name}\\:{_described(text)}" for name, text in command.inner)
        specs = [*flags, _quoted(f"1:command:(({inner}))"), "'*::word:->within'"]
    lines = [f"{_name(command.path)}() {{", "    local context state line", "    typeset -A opt_args"]
    lines.append("    " + " \\\n        ".join(["_arguments -C", *specs]))
    if command.inner:
        lines += _within(command)
    return "\n".join([*lines, "}"])


def _within(command: Command) -> Iterator[str]:
    yield "    [[ $state == within ]] || return"
    yield "    case $words[1] in"
    for name, _ in command.inner:
        yield f"    {name}) {_name((*command.path, name))} ;;"
    yield "    esac"


def _name(path: tuple[str, ...]) -> str:
    return "_".join(["_dfedge", *path]).replace("-", "_")


def _option(option: Option) -> str:
    value = f":{_plain(option.value)}:{'_files' if option.takes_path else ' '}" if option.value else ""
    return " ".join(_quoted(f"*{flag}[{_plain(option.text)}]{value}") for flag in option.flags)


def _word(word: Word, place: int) -> str:
    action = "_files" if word.is_path else " "
    return _quoted(f"{place}:{'' if word.needed else ':'}{_plain(word.name)}:{action}")


def _described(text: str) -> str:
    return '"' + _plain(text).replace('"', "") + '"'


def _plain(text: str) -> str:
    """What _arguments would take for its own is escaped."""
    return "".join(f"\\{letter}" if letter in ":[]()\\`$" else letter for letter in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
