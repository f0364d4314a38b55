"""What a command says: results on stdout, everything else on stderr; one JSON document, or JSON lines."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TextIO

from dfedge.cli.table import table
from dfedge.core.errors import DfedgeError

SCHEMA: Final = 1  # fields are only ever added
Document = Mapping[str, object]


def timestamp() -> str:
    """Now, for the `ts` of a JSON line: RFC 3339, UTC, milliseconds."""
    now = time.clock_gettime(time.CLOCK_REALTIME)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


def utc(seconds: float) -> str:
    """A time for a document: RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Output:
    """The two streams. `kept` is what a user is told is kept when a signal ends the command."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
        now: Callable[[], str] = timestamp,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.json = json
        self.quiet = quiet
        self.verbose = 0
        self.kept = ""
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._now = now
        self.terminal = self._stderr.isatty() and environ.get("TERM", "") not in ("", "dumb")
        self.screen = self._stdout.isatty() and environ.get("TERM", "") not in ("", "dumb")  # it can be drawn anew
        self._colour = self.screen and not environ.get("NO_COLOR")

    @property
    def stdout(self) -> TextIO:
        """Where answers go."""
        return self._stdout

    @property
    def columns(self) -> int | None:
        """How wide a line of an answer may be; None: no terminal shows it."""
        return shutil.get_terminal_size().columns if self._stdout.isatty() else None

    @property
    def ascii(self) -> bool:
        """Whether an answer may hold no other characters."""
        return "utf" not in (self._stdout.encoding or "utf-8").lower()

    @property
    def stderr(self) -> TextIO:
        """Where progress goes."""
        return self._stderr

    def answer(self, document: Document, text: str) -> None:
        """The answer of a short command: the document with --json, else the text."""
        self.print(_line({"v": SCHEMA, **document}) if self.json else text)

    def result(self, document: Document, text: str, *, ok: bool = True) -> None:
        """The answer of a long command: the last JSON line, of type "result"."""
        self.print(
            _line({"v": SCHEMA, "type": "result", "ok": ok, "ts": self._now(), **document}) if self.json else text
        )

    def event(self, document: Document) -> None:
        """How it goes, as a JSON line; without --json nothing."""
        if self.json:
            self.print(_line({"v": SCHEMA, "ts": self._now(), **document}))

    def print(self, text: str) -> None:
        """Say it on stdout."""
        if text:
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def note(self, text: str) -> None:
        """A hint or progress; not with --quiet."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """What the user should know though it went well; also with --quiet."""
        self._say(f"dfedge: warning: {text}")

    def error(self, error: DfedgeError) -> None:
        """Why it went wrong, and what to try; with --json on stdout as well."""
        self._fail(error.code, str(error), error.hint)

    def stopped(self, how: str) -> None:
        """A signal ended the command."""
        self._fail("halted", f"{how}{'; ' + self.kept if self.kept else ''}", "")

    def _fail(self, code: str, text: str, hint: str) -> None:
        self._say(f"dfedge: {text} [{code}]")
        if hint:
            self._say(f"  try: {hint}")
        if self.json:
            self.print(
                _line({"v": SCHEMA, "type": "result", "ok": False, "ts": self._now(), "code": code, "error": text,
                       "hint": hint})
            )  # fmt: skip

    def _say(self, text: str) -> None:
        self._stderr.write(text + "\n")
        self._stderr.flush()

    def flush(self) -> None:
        """Raises BrokenPipeError here rather than at exit."""
        self._stdout.flush()

    def bold(self, text: str) -> str:
        """Stress a word, where colours are welcome; a word goes with each."""
        return f"\033[1m{text}\033[0m" if self._colour else text

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Lay out rows under an upper-case header; a heading that begins with `>` is of numbers, set right.

        On a terminal the last columns are dropped until it fits; it never wraps.
        """
        first, *rest = table(header, rows, self.columns)
        return "\n".join([self.bold(first), *rest])


def _line(document: Document) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
