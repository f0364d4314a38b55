"""The man page, in roff."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dfedge import __version__
from manual.command import GLOBALS, Command, Option, Word

_TAIL: Final = """\
.SH EXIT STATUS
0: done. 1: failed, the reason is on standard error. 2: wrong usage. 130, 143: ended by a signal.
.SH ENVIRONMENT
.TP
.B DFEDGE_STATE_DIR, DFEDGE_RUNTIME_DIR, DFEDGE_CONFIG, DFEDGE_FLEET
Where the state, the control socket, the settings and the operator's folder are.
.TP
.B DFEDGE_DEBUG
With 1, errors come with where in the program they happened.
.SH FILES
.TP
.I /etc/dfedge/dfedge.toml
The settings; then dfedge.toml.d/*.toml beside it.
.TP
.I /var/lib/dfedge
The node's key, the fleet's trust, and the images.
"""


def page(commands: Sequence[Command], date: str) -> str:
    """The whole page; `date` is of the build, as in 2026-03-01."""
    main, *others = commands
    lines = [
        f'.TH DFEDGE 1 "{date}" "dfedge {__version__}" "User Commands"',
        ".SH NAME",
        f"dfedge \\- {_text(main.summary)}",
        ".SH SYNOPSIS",
        ".B dfedge",
        ".I COMMAND",
        "[options]",
        ".SH OPTIONS OF EVERY COMMAND",
        *_options(GLOBALS),
        *_options(main.options),
        ".SH COMMANDS",
    ]
    for command in others:
        lines += _command(command)
    return "\n".join(lines) + "\n" + _TAIL


def _command(command: Command) -> Iterator[str]:
    words = " ".join(word.name if word.needed else f"[{word.name}]" for word in command.words)
    yield f".SS {_text(' '.join(['dfedge', command.name, words]).rstrip())}"
    yield _sentence(command.summary)
    for name, summary in command.inner:
        yield from (".TP", f".B {_text(name)}", _text(summary))
    yield from _words(command.words)
    yield from _options(option for option in command.options if "--help" not in option.flags)
    if command.example:
        yield from (".PP", "Example:", f".B {_text(command.example)}")


def _words(words: Iterable[Word]) -> Iterator[str]:
    for word in words:
        yield from (".TP", f".I {_text(word.name)}", _text(word.text))


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        value = f" \\fI{_text(option.value)}\\fR" if option.value else ""
        yield from (".TP", ", ".join(f"\\fB{_text(flag)}\\fR{value}" for flag in option.flags), _text(option.text))


def _sentence(text: str) -> str:
    return _text(text[:1].upper() + text[1:] + ".")


def _text(text: str) -> str:
    """What roff would take for its own is escaped."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
