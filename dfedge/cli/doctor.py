"""dfedge doctor: what is wrong with this node, and how to mend it."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.output import Output

EXAMPLE: Final = "dfedge doctor"


def arguments(parser: ArgumentParser) -> None:
    """It takes nothing of its own."""


def run(args: Namespace, out: Output) -> int:
    """Check everything; the exit code is 1 if anything fails."""
    from dfedge.cli.checkup import Level, examine

    findings = examine(args)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:<4}  {finding.about:<12}  {finding.text}")
        if finding.fix:
            lines.append(f"      {'':<12}  try: {finding.fix}")
    healthy = not any(finding.level is Level.FAIL for finding in findings)
    checks = [
        {"check": finding.about, "level": finding.level.value, "text": finding.text, "fix": finding.fix}
        for finding in findings
    ]
    out.answer({"ok": healthy, "checks": checks}, "\n".join(lines))
    return 0 if healthy else 1
