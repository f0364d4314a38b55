"""Run the system's network tools, and say which one failed and why."""

import subprocess
from collections.abc import Sequence
from typing import Final

TIMEOUT_S: Final = 20  # each call takes milliseconds; a hung one must not hang a test run


class LabError(Exception):
    """A network tool refused; the text is its command and its own words."""


def run(argv: Sequence[str], stdin: str | None = None, *, check: bool = True) -> str:
    """Run one tool and return what it printed. Raises LabError when it fails, unless `check` is false."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{argv[0]}: {error}") from error
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def batch(tool: str, lines: Sequence[str], namespace: str | None = None) -> None:
    """Give many lines to one `ip`, `tc` or `bridge`, in a namespace or outside. Raises LabError."""
    where = ["-n", namespace] if namespace else []
    run([tool, *where, "-batch", "-"], "\n".join(lines) + "\n")
