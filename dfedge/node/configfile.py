"""Settings as they stand in TOML files and in the environment: reading them, and saying where one is wrong.

What a setting may be is a `node.kind.Kind`; the table of all settings is in `node.config`. tomllib tells no line
numbers, so the line of a key is found again by scanning the text for it.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import UsageError
from dfedge.node.kind import Kind

MAX_FILE: Final = 1024 * 1024  # bytes; far over what all settings together need

_SECTION: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")
_AT_LINE: Final = re.compile(r"\s*\(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key a user may set."""

    key: str  # section.key
    kind: Kind
    default: object
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "DFEDGE_" + self.key.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class Found:
    """A value and where it was set: `FILE:LINE` or a variable's name."""

    value: object
    source: str


Settings = Mapping[str, Setting]


def files(main: Path) -> list[Path]:
    """The settings files in the order they are read: `main` if it exists, then `main.d/*.toml`, sorted."""
    extra = sorted(path for path in main.with_name(main.name + ".d").glob("*.toml") if path.is_file())
    return [main, *extra] if main.exists() else extra


def read_file(path: Path, settings: Settings) -> tuple[dict[str, Found], list[UsageError]]:
    """Read one file: what it sets, and everything that is wrong with it."""
    if path.exists() and not path.is_file():  # a pipe would be waited for until somebody writes
        return {}, [UsageError(f"{path}: is not a regular file; write the settings into one", "dfedge config show")]
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"over {MAX_FILE:,} bytes are too many")
        text = data.decode()
        tree = tomllib.loads(text)
    except OSError as error:
        return {}, [UsageError(f"{path}: {(error.strerror or str(error)).lower()}")]
    except RecursionError:
        return {}, [UsageError(f"{path}: nested too deep")]
    except ValueError as error:  # tomllib's and Unicode's are ValueErrors
        at = _AT_LINE.search(str(error))
        reason = _AT_LINE.sub("", str(error))
        return {}, [UsageError(f"{path}:{at[1] if at else 1}: not TOML: {reason[:1].lower()}{reason[1:]}")]
    return _read_tree(path, text, tree, settings)


def _read_tree(
    path: Path, text: str, tree: dict[str, object], settings: Settings
) -> tuple[dict[str, Found], list[UsageError]]:
    found: dict[str, Found] = {}
    errors: list[UsageError] = []
    sections = {key.partition(".")[0] for key in settings}

    def complain(key: str, what: str) -> None:
        errors.append(UsageError(f"{path}:{line_of(text, key)}: {key} {what}", "dfedge config show"))

    for section, keys in tree.items():
        if section not in sections:
            complain(section, f"is not a section{_nearest(section, sections)}")
        elif not isinstance(keys, dict):
            complain(section, f"is a section; write [{section}] and its keys below")
        else:
            for name, value in keys.items():
                key = f"{section}.{name}"
                if key not in settings:
                    complain(key, f"is not a setting{_nearest(name, _names(settings, section))}")
                    continue
                try:
                    read = settings[key].kind.read(value)
                except ValueError as error:
                    complain(key, f"is wrong: {error}")
                else:
                    found[key] = Found(read, f"{path}:{line_of(text, key)}")
    return found, errors


def read_environment(environ: Mapping[str, str], settings: Settings) -> tuple[dict[str, Found], list[UsageError]]:
    """Read the `DFEDGE_SECTION_KEY` variables; others that begin with DFEDGE_ are not settings."""
    found: dict[str, Found] = {}
    errors: list[UsageError] = []
    by_variable = {setting.variable: setting for setting in settings.values()}
    sections = tuple(sorted({f"DFEDGE_{key.partition('.')[0].upper()}_" for key in settings}))
    for variable, text in environ.items():
        setting = by_variable.get(variable)
        if setting is not None:
            try:
                found[setting.key] = Found(setting.kind.read_text(text), variable)
            except ValueError as error:
                errors.append(UsageError(f"{variable}: {error}", "dfedge config show"))
        elif variable.startswith(sections):
            errors.append(UsageError(f"{variable}: is not a setting{_nearest(variable, by_variable)}"))
    return found, errors


def line_of(text: str, key: str) -> int:
    """Find the line on which `section.key` (or a section) stands, from 1; its section's, or 1, if it hides."""
    section_line = 1
    section = ""
    wanted_section = key.partition(".")[0]
    for number, line in enumerate(text.splitlines(), 1):
        header = _SECTION.match(line)
        if header:
            section = _plain(header[1])
            if section == wanted_section:
                section_line = number
            if section == key:
                return number
            continue
        assignment = _KEY.match(line)
        if assignment:
            name = _plain(assignment[1])
            full = f"{section}.{name}" if section else name
            if full == key or full.startswith(key + "."):
                return number
            if full == wanted_section:
                section_line = number
    return section_line


def _plain(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _names(settings: Settings, section: str) -> list[str]:
    return [key.partition(".")[2] for key in settings if key.startswith(section + ".")]


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(sorted(known))}"
