"""The documentation says what the program does: commands parse, and tags, limits, tables, codes and settings agree."""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest

from dfedge.cli.commands import COMMANDS
from dfedge.cli.parser import parse
from dfedge.core import canonical
from dfedge.core.errors import CODES
from dfedge.core.image import manifest, name
from dfedge.core.swarm import phase
from dfedge.core.wire import codec, frame, message
from dfedge.node.config import SETTINGS
from dfedge.node.configfile import read_file
from dfedge.trust import record, revocation, root, signature

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
PROTOCOL: Final = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LIMIT: Final = re.compile(r"(?:MAX|MIN)_[A-Z_]+|PART|HEADER|PREFIX|PROTOCOL|FORMAT|DIGEST")
NOT_ON_THE_WIRE: Final = {"MIN_DIGEST_DIGITS"}


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    for match in re.finditer(r"^```([a-z]*)[^\n]*\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.M):
        yield match[1], match[2]


def _typed() -> Iterator[tuple[str, str]]:
    """Every `dfedge …` that a reader may copy from a block of shell, with the page it is on."""
    for page in PAGES:
        for language, text in _blocks(page):
            if language == "sh":
                for line in text.replace("\\\n", " ").splitlines():
                    if line.startswith("dfedge "):
                        yield page.name, " ".join(shlex.split(line, comments=True))


def _mentioned() -> Iterator[tuple[str, str]]:
    """Every `dfedge …` in a sentence, where arguments may be left out, with the page it is on."""
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
        for match in re.finditer(r"`(dfedge [a-z-][^`]*)`", prose):
            if not match[1].startswith("dfedge: "):
                yield page.name, match[1]


def _rows(text: str) -> list[list[str]]:
    """All rows of all tables: their cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("page", "command"), sorted(set(_typed())))
def test_a_command_copied_from_the_documentation_is_understood(page: str, command: str) -> None:
    args = parse(shlex.split(command)[1:])
    assert callable(args.run)


@pytest.mark.parametrize(("page", "command"), sorted(set(_mentioned())))
def test_a_command_in_a_sentence_exists_with_its_flags(page: str, command: str) -> None:
    words = [word for word in command.split()[1:] if word != "…"]
    if words[0] == "--version":
        return
    assert words[0] in COMMANDS
    commands = [words[0], *words[1:2]] if words[0] in {"fleet", "config", "service"} and words[1:] else words[:1]
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        parse([*commands, "--help"])
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said.getvalue()))
    assert {word for word in words if word.startswith("-")} <= shown


def test_another_implementation_finds_every_message_with_its_tag_and_fields() -> None:
    documented = {row[0]: (row[1], row[2]) for row in _rows(PROTOCOL) if row[0].isdigit() and len(row) == 4}
    tags = {str(tag): kind for tag, kind in codec._BY_TAG.items()}
    assert documented == {
        tag: (kind.__name__, ", ".join(field.name for field in fields(kind))) for tag, kind in tags.items()
    }
    assert ", ".join(field.name for field in fields(message.Entry)) in PROTOCOL


def test_another_implementation_finds_every_limit() -> None:
    rows = {
        row[2].strip("`"): row[1] for row in _rows(PROTOCOL) if len(row) == 3 and LIMIT.fullmatch(row[2].strip("`"))
    }
    limits: dict[str, int] = {}
    for module in (canonical, manifest, name, message, codec, frame):
        limits |= {
            key: value
            for key, value in vars(module).items()
            if LIMIT.fullmatch(key) and isinstance(value, int) and key not in NOT_ON_THE_WIRE
        }
    for module, key in ((revocation, "MAX_REVOCATION"), (revocation, "MAX_REVOKED"), (record, "MAX_RECORD")):
        limits[key] = getattr(module, key)
    limits["MAX_ROOT"] = root.MAX_ROOT
    assert rows == {key: f"{value:,}" for key, value in limits.items()}


def test_another_implementation_may_say_what_the_tables_say_and_nothing_else() -> None:
    def documented(first: str) -> dict[tuple[str, str], str]:
        _, _, after = PROTOCOL.partition(f"| {first} | message | then it is |")
        table = after.lstrip("\n").split("\n\n")[0]
        return {(row[0], kind): row[2] for row in _rows(table)[1:] for kind in row[1].split(", ")}

    def coded(table: Any) -> dict[tuple[str, str], str]:
        return {(before.value, kind.__name__): after.value for (before, kind), after in table.items()}

    assert documented("session is") == coded(phase.SESSION)
    assert documented("handle is") == coded(phase.MEMBERSHIP)


def test_another_implementation_finds_the_frame_and_the_namespaces() -> None:
    for kind in frame.Kind:
        assert f"{kind.name} {kind.value}" in PROTOCOL
    for namespace in signature.Namespace:
        assert f"`{namespace.value}`" in PROTOCOL
        assert namespace.value in (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_error_code_that_a_script_may_see_is_explained() -> None:
    _, _, section = OPERATIONS.partition("## Error codes")
    documented = [row[0].strip("`") for row in _rows(section.partition("\n## ")[0])[2:]]
    assert documented == list(CODES)


def test_every_setting_is_explained_and_no_other() -> None:
    _, _, section = OPERATIONS.partition("## Settings")
    keys = [key for row in _rows(section.partition("\n## ")[0])[2:] for key in re.findall(r"`([a-z._]+)`", row[0])]
    assert sorted(keys) == sorted(SETTINGS)


def test_the_example_settings_are_accepted(tmp_path: Path) -> None:
    examples = [text for page in PAGES for language, text in _blocks(page) if language == "toml"]
    assert examples
    for example in examples:
        path = tmp_path / "dfedge.toml"
        path.write_text(example, encoding="utf-8")
        _, errors = read_file(path, SETTINGS)
        assert not errors


def test_no_link_leads_nowhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in _anchors(there)):
                broken.append(f"{page.name}: {target}")
    assert not broken


def _anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
