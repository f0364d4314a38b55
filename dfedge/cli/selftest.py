"""dfedge selftest: whether dfedge works on this machine; it changes nothing and needs neither fleet nor network."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.output import Output

EXAMPLE: Final = "dfedge selftest"


def arguments(parser: ArgumentParser) -> None:
    """It takes nothing of its own."""


def run(args: Namespace, out: Output) -> int:
    """Try everything; the exit code is 1 if anything fails."""
    del args
    from dfedge.node.selftest import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not out.json:
            out.print(f"{'ok' if check.ok else 'fail':<4}  {check.name:<22}  {check.text}")
    healthy = all(check.ok for check in checks)
    if out.json:
        rows = [{"check": c.name, "ok": c.ok, "text": c.text, "seconds": c.seconds} for c in checks]
        out.answer({"ok": healthy, "checks": rows}, "")
    return 0 if healthy else 1
