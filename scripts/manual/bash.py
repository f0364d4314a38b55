"""Completion for bash."""

from collections.abc import Iterable, Sequence
from typing import Final

from manual.command import GLOBALS, Command, Option

_FRAME: Final = """\
# bash completion for dfedge; made from its parsers.
_dfedge() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} at='' word words='' flags='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case "$word" in
        {valued}) ((i++)) ;;
        *)
            case "$at${{at:+ }}$word" in
            {paths}) at="$at${{at:+ }}$word" ;;
            esac
            ;;
        esac
    done
    case "$previous" in
    {files})
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    {others})
        COMPREPLY=()
        return
        ;;
    esac
    case "$at" in
{cases}
    esac
    if [[ $current == -* ]]; then words=$flags; fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o bashdefault -o default -F _dfedge dfedge
"""


def bash(commands: Sequence[Command]) -> str:
    """The file for bash-completion's folder. Where none of our words fit, bash offers files."""
    every = [option for command in commands for option in (*command.options, *GLOBALS) if option.value]
    return _FRAME.format(
        valued="|".join(_flags(every)),
        paths="|".join(f'"{command.name}"' for command in commands if command.path),
        files="|".join(_flags(option for option in every if option.takes_path)),
        others="|".join(_flags(option for option in every if not option.takes_path)),
        cases="\n".join(_case(command) for command in commands),
    )


def _case(command: Command) -> str:
    words = " ".join(name for name, _ in command.inner)
    flags = " ".join(_flags((*command.options, *GLOBALS)))
    return f'    "{command.name}") words="{words}" flags="{flags}" ;;'


def _flags(options: Iterable[Option]) -> list[str]:
    return list(dict.fromkeys(flag for option in options for flag in option.flags))
