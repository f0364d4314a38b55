"""dfedge why: what a transfer waits for, and what could be done about it."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli.argument import add_ref
from dfedge.cli.config import shown
from dfedge.cli.field import image_label, number, rows, whole, word
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.units import line_rate

EXAMPLE: Final = "dfedge why gateway:2.4.1"


def arguments(parser: ArgumentParser) -> None:
    """Which image; none means all that are under way."""
    add_ref(parser, optional=True)


def run(args: Namespace, out: Output) -> int:
    """Ask the agent for its reasons."""
    with running_agent(config_of(args)) as agent:
        answer = agent.call("why", {"ref": str(args.ref) if args.ref else None})
    images = rows(answer, "images")
    out.answer(answer, "\n".join(line for image in images for line in _lines(image)))
    if not images and not out.json:
        out.note("nothing is under way; fetch something: dfedge get REF")
    return 0


def _lines(image: dict[str, object]) -> list[str]:
    total, done = whole(image, "bytes_total"), whole(image, "bytes_done")
    head = image_label(image) or "this node"
    if total:
        head += f" is at {100 * done // total} %"
    if number(image, "rate"):
        head += f", {line_rate(number(image, 'rate'))}"
    if number(image, "line"):
        way = " up" if word(image, "way") == "up" else ""
        head += f". The line could do about {line_rate(number(image, 'line'))}{way}."
    lines = [head]
    reasons = rows(image, "reasons")
    for index, reason in enumerate(reasons, 1):
        who = f"{word(reason, 'peer')}: " if word(reason, "peer") else ""
        lines.append(f"  {index}. {who}{word(reason, 'reason')}{_cost(reason)}")
    if not reasons:
        lines.append("  nothing holds it back")
    idle = [f"{word(each, 'what')} ({word(each, 'value')})" for each in rows(image, "not_limiting")]
    if idle:
        lines.append(f"  not limiting: {', '.join(idle)}")
    advice = next(filter(None, map(_advice, reasons)), "")
    if advice:
        lines.append(f"  try: {advice}")
    return lines


def _cost(reason: dict[str, object]) -> str:
    """What it takes: of the line where that is known, else of the pieces."""
    if number(reason, "cost"):
        return f"   -{line_rate(number(reason, 'cost'))} ({100 * number(reason, 'cost_share'):.0f} % of the line)"
    if number(reason, "share") and word(reason, "kind") not in ("image", "throttle"):
        return f"   {100 * number(reason, 'share'):.0f} % of the missing pieces"
    return ""


def _advice(reason: dict[str, object]) -> str:
    """What to change, and what it is now: `raise throttle.max_down, now 20 Mbit/s (dfedge.toml:14)`."""
    setting, value, source = word(reason, "setting"), reason.get("value"), word(reason, "source")
    if value is None or not word(reason, "try"):
        return word(reason, "try")
    return f"{word(reason, 'try')}, now {shown(setting, value)} ({source})"
